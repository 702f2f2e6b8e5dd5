from steelyard_interpretability import Attribution
from steelyard.testing import PluginSuite


class TestAttribution(PluginSuite):
    plugin = Attribution()
