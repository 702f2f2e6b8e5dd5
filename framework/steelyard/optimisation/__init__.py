"""Optimizers and learning rate schedules that PyTorch lacks, or that must know how long a run is."""

from steelyard.optimisation.compiled import BringsOptimizer, Compiled
from steelyard.optimisation.configured import configured
from steelyard.optimisation.lion import Lion
from steelyard.optimisation.sam import SAM
from steelyard.optimisation.schedules import Constant, Cosine, Linear, OneCycle, Schedule

__all__ = [
    "SAM",
    "BringsOptimizer",
    "Compiled",
    "Constant",
    "Cosine",
    "Linear",
    "Lion",
    "OneCycle",
    "Schedule",
    "configured",
]
