from steelyard.testing import PluginSuite
from steelyard_stability import Calibration, Consistency, Corruptions, Outliers


class TestCalibration(PluginSuite):
    plugin = Calibration()


class TestConsistency(PluginSuite):
    plugin = Consistency(examples=20)


class TestCorruptions(PluginSuite):
    plugin = Corruptions(examples=20, severities=(1, 5))


class TestOutliers(PluginSuite):
    plugin = Outliers(examples=20)
