"""Trainings in processes of their own that work by turns, so that each has its allocator to itself.

All are alive and one is at work: what else the machine does meets all of them alike, which runs one after the other,
minutes apart, are not spared.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import final

BLOCK = 0.4
"""Seconds of a turn, of whole steps."""


@final
class Turn:
    """In the process of a training: waits until it is told to work on."""

    def __init__(self) -> None:
        self._left = self._examples = 0
        self._began: float | None = None

    def step(self, count: int) -> bool:
        """To be called where a step of so many examples starts; False if it is not wanted any more."""
        if not self._left:
            if self._began is not None:
                print(time.process_time() - self._began, self._examples, flush=True)
            word = sys.stdin.readline()
            if not word:
                return False
            self._left, self._examples, self._began = int(word), 0, time.process_time()
        self._left -= 1
        self._examples += count
        return True


@final
class Worker:
    """Another process, which trains by turns.

    Args:
        words: Its command line.
        warm: Steps that do not count.
    """

    def __init__(self, words: Sequence[str], *, warm: int) -> None:
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        seconds, _ = self._work(warm)
        self._steps = max(1, round(BLOCK * warm / seconds))

    def turn(self) -> float:
        """CPU seconds an example."""
        seconds, examples = self._work(self._steps)
        return seconds / examples

    def end(self) -> None:
        """Ends it."""
        self._process.communicate()

    def _work(self, steps: int) -> tuple[float, int]:
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        print(steps, file=pipes[0], flush=True)
        seconds, examples = pipes[1].readline().split()
        return float(seconds), int(examples)


def turns(workers: Mapping[str, Worker], *, rounds: int) -> dict[str, list[float]]:
    """CPU seconds an example of each, in so many rounds; who goes first changes from round to round."""
    found: dict[str, list[float]] = {key: [] for key in workers}
    for number in range(rounds):
        for key in list(workers)[:: -1 if number % 2 else 1]:
            found[key].append(workers[key].turn())
    return found
