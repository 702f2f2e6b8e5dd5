"""Optuna's side of a search: what to try next, and what came of it (Akiba et al., KDD 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from steelyard.measurement import by_name
from steelyard.problem import refuse
from steelyard.registry import did_you_mean
from steelyard.scorecard import Requirement, Scorecard
from steelyard.sweeping.settings import Searching
from steelyard.sweeping.space import Choice, Dimension, Space

STORAGE = "optuna.db"
"""Below the sweep folder."""
_SPEC, _REASON, _AGAIN = "spec", "reason", "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """One of the best trials.

    Attributes:
        number: Of the trial.
        values: Of the objectives, in their order.
    """

    number: int
    values: tuple[float, ...]


class Study:
    """Asks for trials and is told what became of them.

    Args:
        settings: Of the search.
        space: What it looks through.
        place: The sweep folder.

    Raises:
        Refused: If a study of that name in the storage has other objectives.
    """

    def __init__(self, settings: Searching, space: Space, place: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._settings = settings
        self._dimensions = space.dimensions
        self._distributions = {
            one.key: distribution(one) for one in space.dimensions if not (isinstance(one, Choice) and one.fixed)
        }
        self._storage = optuna.storages.get_storage(settings.storage or f"sqlite:///{(place / STORAGE).absolute()}")
        up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        directions = [*(up for _ in settings.maximize), *(down for _ in settings.minimize)]
        self._name = settings.study_name or place.name
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=self._name,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=settings.prune_after),
            directions=directions,
            load_if_exists=True,
        )
        if self._study.directions != directions:
            raise refuse(f"the study {self._name} has other objectives", fix="hydra.sweeper.study_name=...")
        # A stream that starts anew would propose what it has proposed before.
        self._study.sampler = _sampler(settings, asked_before=len(self._known()))
        self._live: dict[int, optuna.Trial] = {}

    @property
    def remaining(self) -> int:
        """How many trials are still to be asked for, those that wait to be tried again among them."""
        known = self._known()
        waiting = sum(one.state is TrialState.WAITING for one in known)
        begun = sum(one.state is not TrialState.WAITING and _AGAIN not in one.user_attrs for one in known)
        return waiting + max(0, self._settings.n_trials - begun)

    def take_up(self) -> list[tuple[int, tuple[str, ...]]]:
        """Trials that another process has left running, with their values; each is to be told of."""
        study = self._storage.get_study_id_from_name(self._name)
        found: list[tuple[int, tuple[str, ...]]] = []
        for one in self._known():
            if one.state is TrialState.RUNNING:
                known = self._storage.get_trial_id_from_study_id_trial_number(study, one.number)
                self._live[one.number] = optuna.Trial(self._study, known)
                found.append((one.number, self._values(one.params)))
        return found

    def again(self, number: int) -> bool:
        """Asks for the values of a trial that failed once more, before anything new; False if that was done before."""
        known = self._known()
        if any(one.user_attrs.get(_AGAIN) == number for one in known):
            return False
        self._study.enqueue_trial(known[number].params, user_attrs={_AGAIN: number})
        return True

    def failures(self) -> list[int]:
        """Trials that measured nothing."""
        return [one.number for one in self._known() if one.state is TrialState.FAIL]

    def ask(self) -> tuple[int, tuple[str, ...]]:
        """The next trial's number and its value for each dimension."""
        trial = self._study.ask(self._distributions)
        self._live[trial.number] = trial
        return trial.number, self._values(trial.params)

    def specs(self) -> dict[str, int]:
        """Spec -> the first trial that was measured with it."""
        found: dict[str, int] = {}
        for one in self._known():
            if one.state is TrialState.COMPLETE and _SPEC in one.user_attrs:
                found.setdefault(str(one.user_attrs[_SPEC]), one.number)
        return found

    def is_hopeless(self, number: int, step: int, value: float) -> bool:
        """True if a running trial is worse at this step than the median of those before it."""
        trial = self._live[number]
        trial.report(value, step)
        return trial.should_prune()

    def measured(self, number: int, scorecard: Scorecard, *, spec: str) -> str:
        """Tells what a trial measured.

        Returns:
            Why it is of no use to the search; "" if it is.
        """
        values: list[float] = []
        for name in self._settings.objectives:
            found = objective(scorecard, name, higher=name in self._settings.maximize)
            if isinstance(found, str):
                self.failed(number, found)
                return found
            values.append(found)
        trial = self._live.pop(number)
        trial.set_user_attr(_SPEC, spec)
        for requirement in scorecard.requirements:
            trial.set_constraint(f"{requirement.name}.{requirement.bound}", violation(requirement))
        self._study.tell(trial, values)
        return ""

    def failed(self, number: int, reason: str) -> None:
        """Tells that a trial measured nothing, and why."""
        trial = self._live.pop(number)
        trial.set_user_attr(_REASON, reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def pruned(self, number: int) -> None:
        """Tells that a trial was given up before its end."""
        self._study.tell(self._live.pop(number), state=TrialState.PRUNED)

    def best(self) -> list[Best]:
        """The trials that no other beats in every objective, of those that meet the requirements; best first."""
        found = [Best(number=one.number, values=tuple(one.values)) for one in self._study.best_trials]
        sign = -1 if self._settings.maximize else 1
        return sorted(found, key=lambda one: (sign * one.values[0], one.number))

    def _known(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _values(self, params: Mapping[str, object]) -> tuple[str, ...]:
        return tuple(_value(one, params) for one in self._dimensions)


def distribution(one: Dimension) -> BaseDistribution:
    """A dimension as Optuna knows it; the numbers of a `range(...)` keep their distances."""
    if not isinstance(one, Choice):
        if one.whole:
            return IntDistribution(int(one.low), int(one.high), log=one.log)
        return FloatDistribution(one.low, one.high, log=one.log)
    if not one.ordered:
        return CategoricalDistribution(one.options)
    numbers = sorted(float(option) for option in one.options)
    step = numbers[1] - numbers[0]
    if all(number.is_integer() for number in numbers):
        return IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(step))
    return FloatDistribution(numbers[0], numbers[-1], step=step)


def objective(scorecard: Scorecard, name: str, *, higher: bool) -> float | str:
    """The value of an objective, of a curve its worst point; or why there is none.

    Args:
        scorecard: Of one trial.
        name: Full name of a measurement.
        higher: True if higher is better.
    """
    known = by_name(scorecard.measurements())
    points = known.get(name, ())
    if not points:
        return f"nobody measured {name}{did_you_mean(name, known)}"
    values: list[float] = []
    for point in points:
        if not point.stands or point.value is None:
            return f"{name} is {point.status}: {point.note}"
        values.append(point.value)
    return min(values) if higher else max(values)


def violation(requirement: Requirement) -> float:
    """By how much a requirement is missed, as it is judged: above 0 if it is not met, at most 0 if it is.

    What was not measured does not meet it, by as much as the limit is worth.
    """
    if requirement.held is None:
        return abs(requirement.limit) + 1.0
    over = requirement.held - requirement.limit
    return over if requirement.bound == "max" else -over


def _value(one: Dimension, params: Mapping[str, object]) -> str:
    if isinstance(one, Choice):
        if one.fixed:
            return one.options[0]
        drawn = params[one.key]
        return (
            min(one.options, key=lambda option: abs(float(option) - float(str(drawn)))) if one.ordered else str(drawn)
        )
    return one.text(float(str(params[one.key])))


def _sampler(settings: Searching, *, asked_before: int) -> BaseSampler:
    seed = None if settings.seed is None else settings.seed + asked_before
    match settings.sampler:
        case "tpe":
            return TPESampler(seed=seed)
        case "nsga2":
            return NSGAIISampler(seed=seed)
        case _:
            return RandomSampler(seed=seed)
