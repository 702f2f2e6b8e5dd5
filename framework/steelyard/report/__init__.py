"""The scorecard to look at: terminal tables and self-contained pages, made without torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.report.page import render as render
    from steelyard.report.terminal import print_problems as print_problems
    from steelyard.report.terminal import print_scorecard as print_scorecard

# A refusal prints a table of problems, and should not pay for the pages.
_HOMES = {"print_problems": "terminal", "print_scorecard": "terminal", "render": "page"}

__all__ = ["print_problems", "print_scorecard", "render"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steelyard.report' has no attribute {name!r}")
    return getattr(import_module(f"steelyard.report.{_HOMES[name]}"), name)
