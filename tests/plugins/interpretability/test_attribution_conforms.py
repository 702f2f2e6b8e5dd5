from steelyard.testing import PluginSuite
from steelyard_interpretability import Attribution, Faithfulness


class TestAttribution(PluginSuite):
    plugin = Attribution()


class TestFaithfulness(PluginSuite):
    plugin = Faithfulness(samples=4, random_orders=2, neighbours=1, draws=8)
