"""The scorecard to look at: terminal tables and self-contained pages, made without torch."""

from steelyard.report.page import render
from steelyard.report.terminal import print_problems, print_scorecard

__all__ = ["print_problems", "print_scorecard", "render"]
