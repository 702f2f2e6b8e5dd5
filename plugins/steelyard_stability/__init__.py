"""Steelyard's plugins for the challenge `stability`."""

from steelyard_stability.adversarial import Adversarial
from steelyard_stability.adversarial_training import AdversarialTraining
from steelyard_stability.calibration import Calibration
from steelyard_stability.certified import Certified
from steelyard_stability.consistency import Consistency
from steelyard_stability.corruptions import Corruptions
from steelyard_stability.drift import Drift
from steelyard_stability.noise import Noise
from steelyard_stability.outliers import Outliers
from steelyard_stability.seeds import Seeds
from steelyard_stability.train_guard import TrainGuard

__all__ = [
    "Adversarial",
    "AdversarialTraining",
    "Calibration",
    "Certified",
    "Consistency",
    "Corruptions",
    "Drift",
    "Noise",
    "Outliers",
    "Seeds",
    "TrainGuard",
]
