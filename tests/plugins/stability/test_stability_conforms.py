from steelyard.testing import PluginSuite
from steelyard_stability import Calibration, Consistency


class TestCalibration(PluginSuite):
    plugin = Calibration()


class TestConsistency(PluginSuite):
    plugin = Consistency(examples=20)
