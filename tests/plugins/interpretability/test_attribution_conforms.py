from steelyard.testing import PluginSuite
from steelyard_interpretability import Attribution


class TestAttribution(PluginSuite):
    plugin = Attribution()
