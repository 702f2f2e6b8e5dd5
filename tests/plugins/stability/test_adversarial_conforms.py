from steelyard.testing import PluginSuite
from steelyard_stability import Adversarial


class TestAdversarial(PluginSuite):
    plugin = Adversarial(examples=8, steps=2, queries=4, radii=(0.05, 0.2), targets=1)
