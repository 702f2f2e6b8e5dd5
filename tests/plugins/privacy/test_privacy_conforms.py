"""The plugins keep the contract."""

from steelyard.testing import PluginSuite
from steelyard_privacy.canaries import Canaries
from steelyard_privacy.dp_sgd import DPSGD
from steelyard_privacy.membership import Membership
from steelyard_privacy.shadow import Shadow


class TestDPSGD(PluginSuite):
    """Noise that repeats itself, or no run could be compared with another."""

    plugin = DPSGD(noise_seed=0)
    key = "privacy.dp_sgd"


class TestMembership(PluginSuite):
    plugin = Membership()
    key = "privacy.membership"


class TestCanaries(PluginSuite):
    plugin = Canaries(count=20)
    key = "privacy.canaries"


class TestShadow(PluginSuite):
    plugin = Shadow(model=1)
    key = "privacy.shadow"
