"""The command line: `steelyard VERB ...`."""

from steelyard.cli._main import main

__all__ = ["main"]
