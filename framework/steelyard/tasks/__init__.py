"""LightningModules that learn a task and say how well."""

from steelyard.tasks.classification import Classification
from steelyard.tasks.detection import Detection
from steelyard.tasks.measured import Measured
from steelyard.tasks.sequence_to_sequence import SequenceToSequence

__all__ = [
    "Classification",
    "Detection",
    "Measured",
    "SequenceToSequence",
]
