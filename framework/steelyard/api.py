"""Steelyard from Python: the same code as the command line, also in a notebook."""

from typing import TYPE_CHECKING

from steelyard.composing import compose, known_to_hydra
from steelyard.problem import refuse

if TYPE_CHECKING:
    from steelyard.scorecard import Scorecard


def run(*overrides: str) -> "Scorecard":
    """Trains a model and weighs it.

    Args:
        *overrides: The words of the command line, e.g. "model=cnn", "seed=0".

    Raises:
        Refused: With every problem, before anything is trained.
    """
    composed = compose(*overrides)
    if composed.wants_sweep:
        raise refuse(
            "this experiment is a sweep of several runs, and steelyard.run gives one scorecard",
            fix=f"steelyard run {' '.join(overrides)}",
        )
    from steelyard import experiment

    with known_to_hydra(composed):
        return experiment.run(
            composed.config, choices=composed.choices, overrides=composed.overrides, notes=composed.notes
        )
