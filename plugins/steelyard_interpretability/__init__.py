"""Steelyard's plugins for the challenge `interpretability`."""

from steelyard_interpretability.attribution import Attribution
from steelyard_interpretability.concepts import Concepts
from steelyard_interpretability.drift import Drift
from steelyard_interpretability.faithfulness import Faithfulness
from steelyard_interpretability.influence import Influence

__all__ = ["Attribution", "Concepts", "Drift", "Faithfulness", "Influence"]
