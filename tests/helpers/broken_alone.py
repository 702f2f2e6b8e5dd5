"""A declaration that imports only where a test is running."""

import sys
from dataclasses import dataclass

from helpers.broken import Subject

if "pytest" not in sys.modules:
    raise ImportError("not without pytest")


@dataclass(frozen=True, kw_only=True)
class Dependent(Subject):
    """Does not stand alone."""
