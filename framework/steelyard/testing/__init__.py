"""The conformance suite that ships with Steelyard; a plugin gets all of it in three lines.

from steelyard.testing import PluginSuite

class TestMine(PluginSuite):
    plugin = Mine()
"""

from steelyard.testing.command import check
from steelyard.testing.suite import PluginSuite
from steelyard.testing.tiny import TinyImages, tiny_classifier

__all__ = ["PluginSuite", "TinyImages", "check", "tiny_classifier"]
