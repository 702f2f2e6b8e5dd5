"""Words for the terminal: results on stdout, everything else on stderr."""

import sys

from steelyard.scorecard import Scorecard


def write(text: str) -> None:
    """A result, on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """What is going on, on stderr."""
    sys.stderr.write(f"steelyard: {line}\n")
    sys.stderr.flush()


def print_scorecard(scorecard: Scorecard) -> None:
    """The scorecard as tables, on stdout."""
    from steelyard import report

    report.print_scorecard(scorecard)
