"""LightningDataModules that know their sizes, modality and fingerprint."""

from steelyard.data.digits import Digits
from steelyard.data.in_memory import Corpus, InMemory

__all__ = ["Corpus", "Digits", "InMemory"]
