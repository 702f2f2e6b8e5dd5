"""One small class per modality, so that no plugin needs a modality of its own."""

from steelyard.adapters.adapter import Adapter, PairAdapter, Retelling
from steelyard.adapters.audio import AudioAdapter
from steelyard.adapters.ctc_scoring import CTCScoring
from steelyard.adapters.detection import DetectionAdapter, DetectionScoring
from steelyard.adapters.factory import MODALITIES, Facts, adapter_for
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.labels_scoring import LabelsScoring
from steelyard.adapters.likely import likely_modality
from steelyard.adapters.scoring import IGNORED, ClassScoring, Scoring, TokenScoring
from steelyard.adapters.table import TableAdapter
from steelyard.adapters.text import TextAdapter
from steelyard.adapters.value_scoring import ValueScoring
from steelyard.adapters.video import VideoAdapter

__all__ = [
    "IGNORED",
    "MODALITIES",
    "Adapter",
    "AudioAdapter",
    "CTCScoring",
    "ClassScoring",
    "DetectionAdapter",
    "DetectionScoring",
    "Facts",
    "ImageAdapter",
    "LabelsScoring",
    "PairAdapter",
    "Retelling",
    "Scoring",
    "TableAdapter",
    "TextAdapter",
    "TokenScoring",
    "ValueScoring",
    "VideoAdapter",
    "adapter_for",
    "likely_modality",
]
