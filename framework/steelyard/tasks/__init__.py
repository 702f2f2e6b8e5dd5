"""LightningModules that learn a task and say how well."""

from steelyard.tasks.classification import Classification
from steelyard.tasks.ctc_recognition import CTCRecognition
from steelyard.tasks.detection import Detection
from steelyard.tasks.dictation import Dictation
from steelyard.tasks.language_model import LanguageModel
from steelyard.tasks.measured import Measured
from steelyard.tasks.sequence_to_sequence import SequenceToSequence
from steelyard.tasks.synthesis import Synthesis
from steelyard.tasks.text_to_speech import TextToSpeech
from steelyard.tasks.voice_search import VoiceSearch

__all__ = [
    "CTCRecognition",
    "Classification",
    "Detection",
    "Dictation",
    "LanguageModel",
    "Measured",
    "SequenceToSequence",
    "Synthesis",
    "TextToSpeech",
    "VoiceSearch",
]
