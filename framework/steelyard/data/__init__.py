"""LightningDataModules that know their sizes, modality and fingerprint."""

from steelyard.data.breast_cancer import BreastCancer
from steelyard.data.digits import Digits
from steelyard.data.idx import Idx
from steelyard.data.in_memory import Corpus, InMemory

__all__ = ["BreastCancer", "Corpus", "Digits", "Idx", "InMemory"]
