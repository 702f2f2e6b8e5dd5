"""Runs the trials of a sweep side by side until all have ended, or somebody has had enough."""

import gc
import importlib
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from steelyard import folder
from steelyard.composing import Trial
from steelyard.folder import State
from steelyard.sweeping.code import versioned
from steelyard.sweeping.elsewhere.hands import Elsewhere, Hands
from steelyard.sweeping.forked import Send
from steelyard.sweeping.pool import Ended, Pool, Told, cores, share
from steelyard.sweeping.progress import Progressed, Reported
from steelyard.sweeping.settings import Sweep
from steelyard.sweeping.supply import Listed, Supply, devices_of, processes_of
from steelyard.sweeping.trial import FAILED, INTERRUPTED, REFUSED, TERMINATED, Job, forked, record
from steelyard.sweeping.view import View
from steelyard.sweeping.warmth import warm_up

LONERS = ("torch.", "tensorflow", "jax", "ray", "grpc")
Explain = Callable[[BaseException, str | None], int]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Modules that a trial has imported, and that the next ones need not import again."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """What a trial does in its process, here or elsewhere."""

    job: Job
    trial: Trial
    place: Path
    explain: Explain

    def __call__(self, send: Send) -> int:
        known = frozenset(sys.modules)
        try:
            return forked(self.job, self.trial, self.place, send, explain=self.explain)
        finally:
            news = _news(known)
            if news:
                send(_Loaded(news))


@dataclass(slots=True)
class _Signals:
    """Counts Ctrl-C and SIGTERM; an exception could come between the end of a trial and its entry in the list."""

    last: signal.Signals | None = None
    count: int = 0

    def note(self, number: int, frame: object) -> None:
        del frame
        self.last = signal.Signals(number)
        self.count += 1


@dataclass(kw_only=True)
class Driver:
    """What it takes to run trials in processes of their own.

    Attributes:
        job: What to do with each.
        place: The sweep folder.
        settings: Of the sweep.
        view: Shows how it goes.
        explain: Says on stderr what went wrong, given the error and the run folder, and gives the exit code.
        hands: Given the number of trials, who runs them; None for a pool of this process.
        codes: Exit codes of the trials that have ended; exit code 130 or 143 under -1 if the sweep was stopped.
    """

    job: Job
    place: Path
    settings: Sweep
    view: View
    explain: Explain
    hands: Callable[[int], Elsewhere] | None = None
    codes: dict[int, int] = field(default_factory=dict[int, int])
    _trials: dict[int, Trial] = field(default_factory=dict[int, Trial])

    def run(self, trials: Sequence[Trial]) -> Mapping[int, int]:
        """Runs all trials, each once.

        Returns:
            Trial number -> exit code, of all that came to an end; 130 or 143 under -1 if the sweep was stopped.
        """
        left = [trial for trial in trials if not self._refused(trial)]
        return self.carry_out(Listed(left), devices=devices_of(left), each=processes_of(left))

    def carry_out(self, supply: Supply, *, devices: Sequence[str] = (), each: int = 1) -> Mapping[int, int]:
        """Runs what `supply` gives, and tells it what comes of it.

        Args:
            supply: Gives trials.
            devices: CUDA devices to deal out.
            each: Processes of a trial.

        Returns:
            As `run`.
        """
        pool = self.hands(supply.total) if self.hands else self._pool(supply, devices, each)
        with _noted() as signals, self.view:
            self.view.begin(supply.total + len(self.codes), workers=pool.workers, done=len(self.codes))
            try:
                if self.hands is None:
                    _warm(supply.total)
                while self._fill(pool, supply, signals):
                    for event in pool.poll(1.0):
                        self._note(event, pool, supply, stopped=signals.count > 0)
                    if self.hands and self._enough():
                        # They have all the others already.
                        pool.kill()
                    self._pass_on(pool, signals)
                    self.view.refresh()
            finally:
                pool.kill()
                gc.unfreeze()
        if signals.last is not None:
            self.codes[-1] = INTERRUPTED if signals.last is signal.SIGINT else TERMINATED
        return self.codes

    def _pool(self, supply: Supply, devices: Sequence[str], each: int) -> Pool:
        beside = len(devices) or max(1, cores() // each)
        workers, threads = share(self.settings.workers or beside, supply.total)
        return Pool(workers=workers, threads=threads, seconds=self.settings.trial_seconds, devices=devices)

    def _fill(self, pool: Hands, supply: Supply, signals: _Signals) -> bool:
        """Starts trials while there is room; True if any runs then."""
        while pool.free and not signals.count and not self._enough():
            trial = supply.take()
            if trial is None:
                break
            if self._refused(trial):
                supply.ended(trial.number)
            else:
                self._start(pool, trial)
        return pool.busy

    def _start(self, pool: Hands, trial: Trial) -> None:
        self._trials[trial.number] = trial
        pool.start(trial.number, _Work(self.job, trial, self.place.absolute(), self.explain))
        self.view.started(trial.number)

    def _note(self, event: Told | Ended, pool: Hands, supply: Supply, *, stopped: bool) -> None:
        match event:
            case Told(number=number, what=Progressed() as progressed):
                self.view.progressed(number, progressed)
            case Told(what=_Loaded(names=names)):
                _learn(names)
            case Told(number=number, what=Reported() as reported):
                pool.answer(number, supply.is_hopeless(number, reported))
            case Ended():
                self._end(event, self._trials.pop(event.number), stopped=stopped)
                supply.ended(event.number)
            case _:
                raise AssertionError(event)

    def _end(self, ended: Ended, trial: Trial, *, stopped: bool) -> None:
        place = self.place / str(ended.number)
        reason = self._reason(ended, place, stopped=stopped)
        if reason:
            # It could not say so itself.
            if not (place / folder.STATUS).exists():
                folder.discard(place)
                record(trial, RuntimeError(reason), self.place)
            folder.conclude(place, State.KILLED if stopped else State.FAILED, exit_code=FAILED, message=reason)
        code = FAILED if reason or ended.code is None else ended.code
        self.codes[ended.number] = code
        message = "" if code == 0 else reason or _message(place)
        self.view.ended(ended.number, code=code, seconds=ended.seconds, message=message)

    def _reason(self, ended: Ended, place: Path, *, stopped: bool) -> str:
        """Why the trial ended without a word of its own; "" if it had one."""
        if ended.reason:
            return ended.reason
        if ended.overdue:
            return f"took longer than sweep.trial_seconds={self.settings.trial_seconds:g}"
        if ended.signal is not None:
            name = signal.Signals(ended.signal).name
            return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" and not stopped else "")
        state = folder.status(place).state if (place / folder.STATUS).exists() else None
        return f"left early with exit code {ended.code}" if state in (None, State.KILLED) else ""

    def _refused(self, trial: Trial) -> bool:
        if trial.refused is None:
            return False
        record(trial, trial.refused, self.place)
        self.codes[trial.number] = REFUSED
        self.view.refused(trial.number, str(trial.refused))
        return True

    def _enough(self) -> bool:
        failures = sum(code in (REFUSED, FAILED) for code in self.codes.values())
        return self.settings.max_failures is not None and failures >= self.settings.max_failures

    def _pass_on(self, pool: Hands, signals: _Signals) -> None:
        if signals.last is None or not pool.busy:
            return
        if signals.count > 1 and self.view.stopping:
            pool.kill()
        elif not self.view.stopping:
            self.view.stop(signals.last.name)
            pool.stop(signals.last)


def _message(place: Path) -> str:
    with suppress(FileNotFoundError, ValueError, TypeError):
        return folder.status(place).message
    return ""


def _warm(trials: int) -> None:
    """Imports once what every trial needs."""
    from steelyard import experiment, provenance
    from steelyard.report import environment
    from steelyard.sweeping import _progress

    del experiment, _progress
    provenance.versions()
    environment.warm()
    warm_up(trials)


def _news(known: frozenset[str]) -> tuple[str, ...]:
    """Modules with a version that this process has imported since.

    A module of the user's own may do anything when it is imported, so each trial imports it for itself. Parts of torch
    that nothing here has needed yet are left alone, too: some of them start threads.
    """
    new = [name for name in list(sys.modules) if name not in known and not name.startswith(LONERS)]
    return tuple(name for name in new if str(getattr(sys.modules.get(name), "__file__", "")).startswith(versioned()))


def _learn(names: Sequence[str]) -> None:
    new = [name for name in names if name not in sys.modules]
    for name in new:
        with suppress(Exception):  # what a trial imported under its own conditions need not be importable here
            importlib.import_module(name)
    if new:
        warm_up(1)


@contextmanager
def _noted() -> Generator[_Signals]:
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
