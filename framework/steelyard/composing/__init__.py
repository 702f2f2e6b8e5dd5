"""From the words of the command line to checked configs; the only package that talks to Hydra's composition."""

from steelyard.composing._compose import Composed, compose, known_to_hydra, options_of, session
from steelyard.composing._expand import Collector, Trial, expand
from steelyard.composing._hydra_main import through_hydra
from steelyard.composing._quick import QuickLoader
from steelyard.composing._stored import stored

__all__ = [
    "Collector",
    "Composed",
    "QuickLoader",
    "Trial",
    "compose",
    "expand",
    "known_to_hydra",
    "options_of",
    "session",
    "stored",
    "through_hydra",
]
