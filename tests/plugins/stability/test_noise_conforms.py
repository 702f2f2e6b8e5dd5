from steelyard_stability import Noise
from steelyard.testing import PluginSuite


class TestNoise(PluginSuite):
    plugin = Noise()
