from steelyard_fairness import Parity

from steelyard.testing import PluginSuite


class TestParity(PluginSuite):
    plugin = Parity()
