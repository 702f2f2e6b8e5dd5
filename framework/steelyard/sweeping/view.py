"""A sweep to look at while it runs: a live table in a terminal, one line per trial elsewhere."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from steelyard.report.numbers import duration
from steelyard.sweeping.progress import Progressed

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

KEPT = 5
"""Failures that stay in sight."""
ROWS = 24
"""Running trials that are shown."""
_BAR = 20


@dataclass(slots=True)
class _Row:
    started: float
    progress: Progressed | None = None


class View:
    """Counts trials and shows them.

    Args:
        labels: Trial number -> what sets the trial apart.
        console: Where to.

    Attributes:
        stopping: True once the sweep was told to stop.
    """

    def __init__(self, labels: Mapping[int, str], console: "Console") -> None:
        self._labels, self._console = labels, console
        self._running: dict[int, _Row] = {}
        self._failures: deque[str] = deque(maxlen=KEPT)
        self._counts = {"done": 0, "not met": 0, "failed": 0, "refused": 0, "stopped": 0}
        self._total = self._workers = 0
        self._begun = self._shown = 0.0
        self._ended = 0
        self._took = 0.0
        self._live: Live | None = None
        self.stopping = False

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            from rich.live import Live

            # No thread of its own draws it: forks and threads do not go together.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        for line in self._failures if self._live is not None else ():
            self._console.print(line, style="red", markup=False)

    def begin(self, trials: int, *, workers: int, done: int) -> None:
        """The first trial is about to start.

        Args:
            trials: How many there are to run.
            workers: How many at a time.
            done: How many of them are over already.
        """
        self._total, self._workers, self._begun = trials, workers, time.monotonic()
        noun = "trial" if trials == 1 else "trials"
        self._say(f"{trials} {noun}, {workers} at a time" + (f"; {done} refused" if done else ""))

    def started(self, number: int) -> None:
        """A trial has started."""
        self._running[number] = _Row(time.monotonic())
        self.refresh(now=True)

    def progressed(self, number: int, progress: Progressed) -> None:
        """A trial has told how far it is."""
        if number in self._running:
            self._running[number].progress = progress

    def refused(self, number: int, message: str) -> None:
        """A trial never started."""
        self._counts["refused"] += 1
        self._fail(number, f"refused: {message.splitlines()[0]}")

    def ended(self, number: int, *, code: int, seconds: float, message: str) -> None:
        """A trial is over.

        Args:
            number: The trial.
            code: Its exit code.
            seconds: How long it took.
            message: Why, where it did not end well.
        """
        self._running.pop(number, None)
        word = {0: "done", 1: "not met", 2: "refused", 130: "stopped", 143: "stopped"}.get(code, "failed")
        self._counts[word] += 1
        self._ended += 1
        self._took += seconds
        first = message.splitlines()[0] if message else ""
        if word in ("failed", "refused"):
            self._fail(number, f"{word}: {first}")
        elif self._live is None:
            ended = sum(self._counts.values())
            line = f"{ended} of {self._total}: trial {number} {word} in {duration(seconds)}"
            left = f", {duration(self._left())} left" if self._running or ended < self._total else ""
            self._say(f"{line}{left}  {self._labels.get(number, '')}".rstrip())
        self.refresh(now=True)

    def stop(self, name: str) -> None:
        """The sweep was told to stop by a signal."""
        self.stopping = True
        self._say(f"{name}: the trials that run are stopped; once more kills them")

    def refresh(self, *, now: bool = False) -> None:
        """Draws again, a few times a second at most."""
        if self._live is not None and (now or time.monotonic() - self._shown > 0.25):
            self._shown = time.monotonic()
            self._live.update(self.picture(), refresh=True)

    def picture(self) -> "RenderableType":
        """What the terminal shows."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        ended = sum(self._counts.values())
        share = ended / self._total if self._total else 1.0
        counts = ", ".join(f"{count} {word}" for word, count in self._counts.items() if count)
        head = f"{_bar(share)} {ended} of {self._total}  {counts}"
        times = f"{duration(time.monotonic() - self._begun)} so far"
        if self._ended:
            times += f", {duration(self._left())} left"
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
        table.add_column(justify="right")
        table.add_column(min_width=_BAR)
        table.add_column(justify="right")
        table.add_column()
        table.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
        # What waits elsewhere for its turn has nothing to tell yet.
        rows = sorted(self._running.items(), key=lambda item: item[1].progress is None)
        for number, row in sorted(rows[:ROWS], key=lambda item: item[0]):
            doing = row.progress.doing if row.progress else "starting"
            bar = _bar(row.progress.share) if row.progress and row.progress.share is not None else ""
            passed = duration(time.monotonic() - row.started)
            table.add_row(str(number), Text(bar, "cyan"), passed, Text(doing, "dim"), self._labels.get(number, ""))
        failures = [Text(line, "red", no_wrap=True, overflow="ellipsis") for line in self._failures]
        return Group(Text(f"{head}  {times}", "bold"), table, *failures)

    def _left(self) -> float:
        """Seconds until the last trial ends, if those to come take as long as those that have been."""
        mean = self._took / self._ended
        now = time.monotonic()
        waiting = max(0, self._total - sum(self._counts.values()) - len(self._running))
        running = sum(max(0.0, mean - (now - row.started)) for row in self._running.values())
        return (waiting * mean + running) / max(self._workers, 1)

    def _fail(self, number: int, why: str) -> None:
        line = f"trial {number} {why}"
        self._failures.append(line)
        if self._live is None:
            self._say(line)

    def _say(self, line: str) -> None:
        self._console.print(f"steelyard: {line}", markup=False, highlight=False, soft_wrap=True)


def labels(overrides: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """What sets each trial apart: the words that not all of them share."""
    given = [frozenset(words) for words in overrides.values()]
    common = frozenset[str]().union(*given[:1]).intersection(*given)
    return {number: " ".join(word for word in words if word not in common) for number, words in overrides.items()}


def _bar(share: float) -> str:
    full = round(share * _BAR)
    return "━" * full + "╌" * (_BAR - full)
