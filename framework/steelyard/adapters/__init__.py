"""One small class per modality, so that no plugin needs a modality of its own."""

from steelyard.adapters.adapter import Adapter, ClassScoring, Scoring

__all__ = ["Adapter", "ClassScoring", "Scoring"]
