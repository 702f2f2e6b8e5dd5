from steelyard.testing import PluginSuite
from steelyard_stability import Noise


class TestNoise(PluginSuite):
    plugin = Noise()
