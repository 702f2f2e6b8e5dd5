"""What a sweep needs of those who run its trials: a pool of this process, or somebody elsewhere."""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from steelyard.sweeping.elsewhere.parcel import EVERY, Parcel, read_progress
from steelyard.sweeping.forked import Send
from steelyard.sweeping.pool import Ended, Told
from steelyard.sweeping.progress import Progressed


class Hands(Protocol):
    """Runs trials; `steelyard.sweeping.pool.Pool` is one.

    Attributes:
        workers: How many at a time.
    """

    workers: int

    @property
    def free(self) -> bool:
        """True if another trial may be given."""
        ...

    @property
    def busy(self) -> bool:
        """True while a trial is not over."""
        ...

    def start(self, number: int, work: Callable[[Send], int]) -> None:
        """Takes a trial."""
        ...

    def poll(self, seconds: float) -> Iterator[Told | Ended]:
        """What has happened; waits up to `seconds` for it."""
        ...

    def answer(self, number: int, what: object) -> None:
        """Answers a trial that asked."""
        ...

    def stop(self, number: signal.Signals) -> None:
        """Asks all trials to stop."""
        ...

    def kill(self) -> None:
        """Ends all trials."""
        ...


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A trial whose process ended without an answer.

    Attributes:
        reason: In the words of those who ran it.
    """

    reason: str


class Crew(ABC):
    """joblib, submitit or ray.

    Attributes:
        workers: Trials at a time.
    """

    workers: int

    @abstractmethod
    def send(self, parcels: Sequence[Parcel]) -> None:
        """Takes trials that are to run."""

    @abstractmethod
    def ended(self, seconds: float) -> Mapping[int, Ended | Lost]:
        """Trials that are over since the last call; waits up to `seconds`."""

    @abstractmethod
    def leave(self) -> None:
        """Calls off all that is not over."""


@dataclass(kw_only=True)
class Elsewhere:
    """Gives all trials to a crew at once, which knows itself how many it can run at a time.

    Attributes:
        crew: Who runs them.
        place: The sweep folder.
        threads: For each trial's computing.
        seconds: The time limit of a trial; None for none.
    """

    crew: Crew
    place: Path
    threads: int
    seconds: float | None
    _given: list[Parcel] = field(default_factory=list[Parcel])
    _since: dict[int, float] = field(default_factory=dict[int, float])
    _told: dict[int, Progressed] = field(default_factory=dict[int, Progressed])
    workers: int = field(init=False)

    def __post_init__(self) -> None:
        self.workers = self.crew.workers

    @property
    def free(self) -> bool:
        """Always: what cannot run yet waits there."""
        return True

    @property
    def busy(self) -> bool:
        """True while a trial is not over."""
        return bool(self._since)

    def start(self, number: int, work: Callable[[Send], int]) -> None:
        """Takes a trial; the next `poll` sends it off together with the others."""
        self._given.append(
            Parcel(
                number=number,
                work=work,
                place=self.place.absolute(),
                threads=self.threads,
                seconds=self.seconds,
            )
        )
        self._since[number] = time.monotonic()

    def poll(self, seconds: float) -> Iterator[Told | Ended]:
        """Progress and ends."""
        if self._given:
            self.crew.send(self._given)
            self._given = []
        over = self.crew.ended(min(seconds, EVERY))
        for number in list(self._since):
            progress = None if number in over else read_progress(self.place, number)
            if progress is not None and progress != self._told.get(number):
                self._told[number] = progress
                yield Told(number=number, what=progress)
        for number, what in over.items():
            began = self._since.pop(number)
            self._told.pop(number, None)
            if isinstance(what, Lost):
                yield Ended(
                    number=number,
                    code=None,
                    signal=None,
                    seconds=time.monotonic() - began,
                    cpu_seconds=0.0,
                    overdue=False,
                    reason=what.reason,
                )
            else:
                yield what

    def answer(self, number: int, what: object) -> None:
        """Nobody asks: a search that gives trials up runs here."""
        raise AssertionError((number, what))

    def stop(self, number: signal.Signals) -> None:
        """Calls all trials off."""
        del number
        self.kill()

    def kill(self) -> None:
        """Calls all trials off; one that ran leaves its folder as it is."""
        self.crew.leave()
        self._since.clear()
        self._given.clear()
