"""From the words of the command line to checked configs; the only package that talks to Hydra's composition."""

from steelyard.composing._compose import Composed, compose, known_to_hydra, options_of, session
from steelyard.composing._expand import Trial, expand
from steelyard.composing._hydra_main import through_hydra

__all__ = [
    "Composed",
    "Trial",
    "compose",
    "expand",
    "known_to_hydra",
    "options_of",
    "session",
    "through_hydra",
]
