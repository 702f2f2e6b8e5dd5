"""LightningDataModules that know their sizes, modality and fingerprint."""

from steelyard.data.audio_csv import AudioCSV
from steelyard.data.audio_folder import AudioFolder
from steelyard.data.breast_cancer import BreastCancer
from steelyard.data.coco import Coco
from steelyard.data.digits import Digits
from steelyard.data.huggingface import HuggingFace
from steelyard.data.huggingface_images import HuggingFaceImages
from steelyard.data.idx import Idx
from steelyard.data.image_folder import ImageFolder
from steelyard.data.in_memory import Corpus, InMemory
from steelyard.data.motion import Motion
from steelyard.data.shapes import Shapes
from steelyard.data.spoken_strings import SpokenStrings
from steelyard.data.spoken_words import SpokenWords
from steelyard.data.stories import Stories, Summaries
from steelyard.data.text_csv import TextCSV
from steelyard.data.translation import Translation

__all__ = [
    "AudioCSV",
    "AudioFolder",
    "BreastCancer",
    "Coco",
    "Corpus",
    "Digits",
    "HuggingFace",
    "HuggingFaceImages",
    "Idx",
    "ImageFolder",
    "InMemory",
    "Motion",
    "Shapes",
    "SpokenStrings",
    "SpokenWords",
    "Stories",
    "Summaries",
    "TextCSV",
    "Translation",
]
