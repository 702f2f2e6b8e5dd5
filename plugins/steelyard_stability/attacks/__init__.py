"""Attacks on a decision, as pure functions: what comes in is not changed, and what is drawn belongs to its example."""

from steelyard_stability.attacks.aim import LIKELIHOOD, Aim, ClassAim, Climb, Loss, ScoringAim
from steelyard_stability.attacks.apgd import apgd
from steelyard_stability.attacks.ball import Ball, Norm, distance
from steelyard_stability.attacks.cascade import Attack, Fall, Plan, cascade, curve
from steelyard_stability.attacks.pgd import Steps, fgsm, pgd, random_start
from steelyard_stability.attacks.scene import Found, Scene
from steelyard_stability.attacks.square import square
from steelyard_stability.attacks.tuning import best_batch

__all__ = [
    "LIKELIHOOD",
    "Aim",
    "Attack",
    "Ball",
    "ClassAim",
    "Climb",
    "Fall",
    "Found",
    "Loss",
    "Norm",
    "Plan",
    "Scene",
    "ScoringAim",
    "Steps",
    "apgd",
    "best_batch",
    "cascade",
    "curve",
    "distance",
    "fgsm",
    "pgd",
    "random_start",
    "square",
]
