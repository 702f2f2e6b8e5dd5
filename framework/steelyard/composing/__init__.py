"""From the words of the command line to checked configs; the only package that talks to Hydra's composition."""

from steelyard.composing._compose import Composed, compose, known_to_hydra, options_of, session
from steelyard.composing._expand import Collector, expand, look_through
from steelyard.composing._hydra_main import through_hydra
from steelyard.composing._job import Job, ReadyJob, get_ready, run_job
from steelyard.composing._loggers import loggers_known
from steelyard.composing._quick import QuickLoader, set_number
from steelyard.composing._search import Search
from steelyard.composing._stored import stored
from steelyard.composing._trial import Trial
from steelyard.composing._way import Way
from steelyard.composing._yaml import to_yaml

__all__ = [
    "Collector",
    "Composed",
    "Job",
    "QuickLoader",
    "ReadyJob",
    "Search",
    "Trial",
    "Way",
    "compose",
    "expand",
    "get_ready",
    "known_to_hydra",
    "loggers_known",
    "look_through",
    "options_of",
    "run_job",
    "session",
    "set_number",
    "stored",
    "through_hydra",
    "to_yaml",
]
