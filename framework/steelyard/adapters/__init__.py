"""One small class per modality, so that no plugin needs a modality of its own."""

from steelyard.adapters.adapter import Adapter, ClassScoring, Scoring
from steelyard.adapters.factory import MODALITIES, adapter_for
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.table import TableAdapter

__all__ = ["MODALITIES", "Adapter", "ClassScoring", "ImageAdapter", "Scoring", "TableAdapter", "adapter_for"]
