"""Every plugin of stability, asked about so few examples that it takes no time."""

from steelyard.plugin import Plugin
from steelyard_stability import (
    Adversarial,
    AdversarialTraining,
    Calibration,
    Certified,
    Consistency,
    Corruptions,
    Drift,
    Noise,
    Outliers,
    Seeds,
)

LOOKS: dict[str, Plugin] = {
    "adversarial": Adversarial(
        examples=4, radii=(0.1,), attacks=("fgsm", "square"), steps=1, queries=2, restarts=1, batch=8
    ),
    "adversarial_training": AdversarialTraining(steps=2),
    "calibration": Calibration(draws=20),
    "certified": Certified(examples=2, selection=10, looks=(10,), radii=(0.1,), batch=16, bounds=(0.01,)),
    "consistency": Consistency(examples=8),
    "corruptions": Corruptions(examples=4, severities=(5,), shown=1),
    "drift": Drift(examples=16, permutations=99),
    "noise": Noise(levels=(0.1,)),
    "outliers": Outliers(examples=10),
    "seeds": Seeds(),
}
