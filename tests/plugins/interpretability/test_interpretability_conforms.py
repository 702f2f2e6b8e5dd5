from steelyard.testing import PluginSuite
from steelyard_interpretability import Attribution, Concepts, Drift, Faithfulness, Influence


class TestAttribution(PluginSuite):
    plugin = Attribution()


class TestFaithfulness(PluginSuite):
    plugin = Faithfulness(samples=4, random_orders=2, neighbours=1, draws=8)


class TestConcepts(PluginSuite):
    plugin = Concepts(sets=("label:0",), counterparts=2, random_concepts=10)


class TestInfluence(PluginSuite):
    plugin = Influence(samples=4)


class TestDrift(PluginSuite):
    plugin = Drift(samples=4, pictures=1, checkpoints=2)
