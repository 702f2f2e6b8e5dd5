from steelyard_compute import Cost
from steelyard.testing import PluginSuite


class TestCost(PluginSuite):
    plugin = Cost()
