from steelyard.testing import PluginSuite
from steelyard_stability import TrainGuard


class TestTrainGuard(PluginSuite):
    plugin = TrainGuard(policy="rewind", every=3)
