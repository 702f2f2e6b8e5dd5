"""Where the trials of a sweep come from: a list, or a search that looks at the results."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from steelyard import folder, ranks, spec
from steelyard.composing import Search, Trial
from steelyard.folder import State
from steelyard.stored import StoredRun
from steelyard.sweeping import record
from steelyard.sweeping.progress import Reported
from steelyard.sweeping.space import Choice

if TYPE_CHECKING:
    from steelyard.sweeping._study import Study

SCORECARD = "scorecard.json"


class Supply(Protocol):
    """Gives trials and hears what became of them."""

    @property
    def total(self) -> int:
        """How many trials there will be, at most."""
        ...

    def take(self) -> Trial | None:
        """The next trial; None if there is none, as things stand."""
        ...

    def is_hopeless(self, number: int, reported: Reported) -> bool:
        """True if a running trial is to be given up."""
        ...

    def ended(self, number: int) -> None:
        """A trial is over; its folder says how."""
        ...


@dataclass(slots=True)
class Listed:
    """Trials that are known from the start.

    Attributes:
        trials: In order.
    """

    trials: Sequence[Trial]
    _next: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return len(self.trials)

    def take(self) -> Trial | None:
        """The next one."""
        if self._next == len(self.trials):
            return None
        self._next += 1
        return self.trials[self._next - 1]

    def is_hopeless(self, number: int, reported: Reported) -> bool:
        """Never: nobody compares them."""
        del number, reported
        return False

    def ended(self, number: int) -> None:
        """Nothing follows from it."""
        del number


@dataclass(kw_only=True)
class Searched:
    """Trials that a study asks for.

    Attributes:
        search: Composes them.
        study: Asks for them.
        place: The sweep folder.
        say: Tells the user something.
        labels: Trial number -> its words; filled as trials come.
    """

    search: Search
    study: "Study"
    place: Path
    say: Callable[[str], None]
    labels: dict[int, str] = field(default_factory=dict[int, str])

    def __post_init__(self) -> None:
        self._running: dict[str, int] = {}
        self._specs: dict[int, str] = {}
        self._same: dict[int, list[int]] = {}
        self._first = self.study.specs()
        # Of a storage that others use, too, only what has a folder here is ours.
        for number, values in self.study.take_up():
            if self._is_ours(number):
                composed = self.search.compose(number, values).composed
                self._specs[number] = spec.spec_hash(composed.config) if composed else ""
                self._tell(number, number)
        for number in self.study.failures():
            own = self.place / str(number)
            # One that is done but lacks an objective would lack it again.
            done = (own / SCORECARD).exists()
            if self._is_ours(number) and not done and self.study.again(number):
                record.set_aside(own)
        self._left = self.total = self.study.remaining

    def devices(self) -> tuple[str, ...]:
        """The CUDA devices that the trials may share out, going by the first values of each dimension."""
        return devices_of([self._first_trial()])

    def processes(self) -> int:
        """Of a trial, going by the same."""
        return processes_of([self._first_trial()])

    def _first_trial(self) -> Trial:
        dimensions = self.search.space.dimensions
        first = [one.options[0] if isinstance(one, Choice) else one.text(one.low) for one in dimensions]
        return self.search.compose(0, first)

    def take(self) -> Trial | None:
        """The next one that has not been run under another number."""
        while self._left:
            self._left -= 1
            number, values = self.study.ask()
            trial = self.search.compose(number, values)
            self.labels[number] = " ".join(self._changing(trial.overrides))
            if trial.composed is None:
                return trial
            key = spec.spec_hash(trial.composed.config)
            self._specs[number] = key
            if key in self._first:
                self.say(f"trial {number} has the same spec as trial {self._first[key]}: it runs once")
                self._tell(number, self._first[key])
            elif key in self._running:
                self._same[self._running[key]].append(number)
            else:
                self._running[key] = number
                self._same[number] = []
                return trial
        return None

    def is_hopeless(self, number: int, reported: Reported) -> bool:
        """True if it is worse than the median of the others at the same step."""
        return self.study.is_hopeless(number, reported.step, reported.value)

    def ended(self, number: int) -> None:
        """Tells the study, also for trials that have the same spec."""
        key = self._specs.get(number, "")
        self._running.pop(key, None)
        for one in (number, *self._same.pop(number, ())):
            self._tell(one, number)

    def _tell(self, number: int, source: int) -> None:
        place = self.place / str(source)
        try:
            status = folder.status(place)
        except FileNotFoundError:
            return self.study.failed(number, "left before it began")
        if status.state is State.PRUNED:
            return self.study.pruned(number)
        if status.state is State.DONE and (place / SCORECARD).exists():
            key = self._specs[number]
            reason = self.study.measured(number, StoredRun(place).scorecard, spec=key)
            self._first.setdefault(key, source)
            if reason:
                self.say(f"trial {number} tells the search nothing: {reason}")
            return None
        return self.study.failed(number, status.message or str(status.state))

    def _is_ours(self, number: int) -> bool:
        return self.search.settings.storage is None or (self.place / str(number)).exists()

    def _changing(self, words: Sequence[str]) -> list[str]:
        dimensions = self.search.space.dimensions
        fixed = {f"{one.key}={one.options[0]}" for one in dimensions if isinstance(one, Choice) and one.fixed}
        return [word for word in words if word not in fixed]


def devices_of(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The CUDA devices of each of the trials that run at a time, as many as one needs; none where they take the CPU.

    Counting them does not set up CUDA, which would not outlive a fork.
    """
    if all(one.get("accelerator") == "cpu" for one in _trainers(trials)):
        return ()
    import torch

    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    count, each = torch.cuda.device_count(), processes_of(trials)
    names = [one.strip() for one in told.split(",")] if told else [str(at) for at in range(count)]
    return tuple(",".join(names[at : at + each]) for at in range(0, count - each + 1, each))


def processes_of(trials: Sequence[Trial]) -> int:
    """The processes of the trial that has most; `auto` means those that a trial finds, so one of what is dealt out."""
    known = _trainers(trials)
    return max((1 if one.get("devices") in ("auto", None) else ranks.count(one) for one in known), default=1)


def _trainers(trials: Sequence[Trial]) -> list[Mapping[str, Any]]:
    found: list[Any] = [trial.composed.config.get("trainer") for trial in trials if trial.composed]
    return [one or {} for one in found]
