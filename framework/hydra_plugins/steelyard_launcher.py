"""`hydra/launcher=steelyard`: a launcher for any Hydra application.

Like Hydra's basic launcher it runs the jobs on this machine with the config that Hydra makes of their overrides. Unlike
it, each job is a process of its own, forked from this one, so that libraries are imported once and no job can spoil the
next; several run side by side; and each choice of groups is composed once (`steelyard.composing`).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

import gc
import logging
import pickle
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from typing_extensions import override

if TYPE_CHECKING:
    from steelyard.composing import ReadyJob
    from steelyard.sweeping.forked import Send

ROW = 64
"""Jobs after which somebody looks for garbage."""

_log = logging.getLogger(__name__)


@dataclass
class SteelyardLauncherConf:
    """The options of `hydra/launcher=steelyard`.

    Attributes:
        workers: Jobs side by side; null for one per core.
        job_seconds: The time limit of one job; null for none.
    """

    _target_: str = "hydra_plugins.steelyard_launcher.SteelyardLauncher"
    workers: int | None = None
    job_seconds: float | None = None


ConfigStore.instance().store(group="hydra/launcher", name="steelyard", node=SteelyardLauncherConf, provider="steelyard")


@dataclass(frozen=True, slots=True)
class _Order:
    """A job that its process composes.

    Attributes:
        number: Of the job.
        words: Its overrides.
        key: Of the composition that it is a copy of.
    """

    number: int
    words: Sequence[str]
    key: tuple[str, ...]


class SteelyardLauncher(Launcher):
    """Runs jobs in forked processes.

    Args:
        workers: Jobs side by side; None for one per core.
        job_seconds: The time limit of one job; None for none.
    """

    def __init__(self, workers: int | None = None, job_seconds: float | None = None) -> None:
        self._workers, self._seconds = workers, job_seconds

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from steelyard.composing import Collector, QuickLoader

        # The sweeper, which composes every job to check it, holds the same context.
        self._loader = QuickLoader(hydra_context.config_loader)
        self._loader.keeps = isinstance(task_function, Collector)
        hydra_context.config_loader = self._loader
        self._context, self._task, self._config = hydra_context, task_function, config
        if not self._loader.keeps:
            # To look for garbage is to go through all that the application has imported, while jobs are checked, too.
            gc.freeze()

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from steelyard.composing import Collector

        setup_globals()
        own = self._config.hydra
        configure_log(own.hydra_logging, own.verbose)
        Path(str(own.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs = list(enumerate(job_overrides, start=initial_job_idx))
        if isinstance(self._task, Collector):
            return [self._collected(self._task, number, words) for number, words in jobs]
        return self._forked(jobs)

    def _collected(self, collector: Any, number: int, words: Sequence[str]) -> JobReturn:
        collector.take(self.composed(number, words))
        return JobReturn(overrides=list(words), status=JobStatus.COMPLETED)

    def composed(self, number: int, words: Sequence[str]) -> DictConfig:
        """The config of one job, `hydra` included."""
        from steelyard.composing import set_number

        config = self._loader.taken(self._config, words)
        set_number(config, number)
        return config

    def _forked(self, jobs: Sequence[tuple[int, Sequence[str]]]) -> Sequence[JobReturn]:
        from steelyard import garbage
        from steelyard.composing import loggers_known
        from steelyard.sweeping import warmth
        from steelyard.sweeping.pool import Ended, Pool, Told, share

        workers, threads = share(self._workers, len(jobs))
        pool = Pool(workers=workers, threads=threads, seconds=self._seconds)
        _log.info("Launching %d jobs, %d at a time", len(jobs), workers)
        returned: dict[int, JobReturn] = {}
        left, chosen = deque(jobs), dict(jobs)
        garbage.none_at_the_end()
        looks = gc.isenabled()
        warming = warmth.warming_up(len(jobs))
        next(warming)
        warm, nested = False, frozenset[tuple[str, ...]]()
        if len(jobs) >= warmth.MANY:
            # Now already: what this process does to get ready takes longer where it forks as well.
            nested = self._loader.known()
            pool.nest(partial(self._ordered, looks))
        try:
            with garbage.left_lying(), loggers_known():
                while left or pool.busy:
                    while left and pool.free:
                        number, words = left.popleft()
                        _log.info("\t#%d : %s", number, " ".join(filter_overrides(list(words))))
                        if len(left) % ROW == 0:
                            # What composing has left behind; next to nothing else is there to look at.
                            gc.collect()
                        try:
                            get, order = self._getter(number, words)
                        except Exception as error:  # an interpolation may fail in any way
                            returned[number] = _failed(error)
                        else:
                            known = order is not None and order.key in nested
                            pool.start(number, partial(self._work, get, looks), order=order if known else None)
                    if not warm and next(warming, warming) is warming:
                        warm = True
                        if nested and len(left) > workers:
                            nested = self._loader.known()
                            pool.nest(partial(self._ordered, looks))
                    for event in pool.poll(1.0 if warm else 0.0):
                        match event:
                            case Told(number=number, what=b""):
                                returned[number] = self._refused(number, chosen[number])
                            case Told(number=number, what=what):
                                returned[number] = pickle.loads(what)  # noqa: S301 - from our own job
                            case Ended(number=number):
                                returned.setdefault(number, _lost(event))
        finally:
            pool.kill()
            gc.unfreeze()
        for number, words in jobs:
            returned[number].overrides = list(words)
        return [returned[number] for number, _ in jobs]

    def _getter(self, number: int, words: Sequence[str]) -> "tuple[Callable[[], ReadyJob], _Order | None]":
        """How its own process comes to a job: by composing it, or it is composed here where that has to be.

        The second is for a process that has the compositions of this one, but was not forked for this job.
        """
        way = self._loader.way(self._config, words)
        if way is not None:
            return partial(self._readied, number, words, way.key, spend=True), _Order(number, words, way.key)
        ready = self._readied(number, words)
        return (lambda: ready), None

    def _readied(
        self, number: int, words: Sequence[str], key: tuple[str, ...] | None = None, *, spend: bool = False
    ) -> "ReadyJob":
        from steelyard.composing import get_ready

        return get_ready(self._loader.job(self._config, words, number=number, key=key, spend=spend))

    def _ordered(self, looks: bool, order: "_Order", send: "Send") -> int:
        return self._work(partial(self._readied, order.number, order.words, order.key, spend=True), looks, send)

    def _refused(self, number: int, words: Sequence[str]) -> JobReturn:
        """Of a job that its own process could not compose: the error as it comes here, where it need not be sent."""
        try:
            self._readied(number, words)
        except Exception as error:  # an interpolation may fail in any way
            return _failed(error)
        return _failed(RuntimeError(f"job {number} could not be composed in its process"))

    def _work(self, get: "Callable[[], ReadyJob]", looks: bool, send: "Send") -> int:
        from steelyard.composing import run_job

        # What was here before is no garbage, and to look at it is to copy it.
        gc.freeze()
        if looks:
            gc.enable()
        try:
            job = get()
        except Exception:  # told by `_refused`
            send(b"")
            return 0
        try:
            done = run_job(job, self._context, self._task)
        except Exception as error:  # `run_job` catches what the task raises, not what comes before it
            done = _failed(error)
        send(_pickled(done))
        return 0


def _failed(error: Exception) -> JobReturn:
    done = JobReturn(status=JobStatus.FAILED)
    done.return_value = error
    return done


def _pickled(done: JobReturn) -> bytes:
    """The answer of a job as bytes; one that cannot be sent becomes a failure that says so."""
    try:
        return pickle.dumps(done)
    except Exception as error:  # pickling calls the objects' own code
        done.status = JobStatus.FAILED
        done.return_value = RuntimeError(f"the job's return value cannot be sent to the sweep: {error}")
        return pickle.dumps(done)


def _lost(ended: Any) -> JobReturn:
    reason = "took too long" if ended.overdue else f"ended by signal {ended.signal}" if ended.signal else "left early"
    return _failed(RuntimeError(f"job {ended.number} {reason} (exit code {ended.code})"))
