from steelyard.testing import PluginSuite
from steelyard_compute import Cost


class TestCost(PluginSuite):
    plugin = Cost()
