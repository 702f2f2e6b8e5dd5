from steelyard.testing import PluginSuite
from steelyard_stability import (
    AdversarialTraining,
    Calibration,
    Certified,
    Consistency,
    Corruptions,
    Drift,
    Outliers,
    Seeds,
)


class TestAdversarialTraining(PluginSuite):
    plugin = AdversarialTraining(steps=2)


class TestCalibration(PluginSuite):
    plugin = Calibration()


class TestCertified(PluginSuite):
    plugin = Certified(examples=3, looks=(20, 50), selection=20)


class TestConsistency(PluginSuite):
    plugin = Consistency(examples=20)


class TestCorruptions(PluginSuite):
    plugin = Corruptions(examples=20, severities=(1, 5))


class TestDrift(PluginSuite):
    plugin = Drift(examples=20)


class TestOutliers(PluginSuite):
    plugin = Outliers(examples=20)


class TestSeeds(PluginSuite):
    plugin = Seeds()
