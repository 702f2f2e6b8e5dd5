"""What a plugin costs inside the step: the times of runs with it against those of runs without it.

Only times with an interval are compared, such as the median of many steps. A time that was taken once, such as that of
a whole training, carries whatever else went on: the first run of a process pays for the warm-up of all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from steelyard.trials.folding import Group, fold


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """One time with and without the plugins that two groups do not share.

    Attributes:
        plugins: Keys of the plugins that only the first group has.
        name: Full name of the time.
        having: Label of the group that has them.
        lacking: Label of the group that lacks them.
        seconds: With them.
        plain: Without them.
    """

    plugins: tuple[str, ...]
    name: str
    having: str
    lacking: str
    seconds: float
    plain: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes."""
        return self.seconds / self.plain


def step_costs(groups: Sequence[Group]) -> Iterator[StepCost]:
    """Compares the groups that are alike but for some plugins of one of them."""
    having_what = [(group, _plugins(group)) for group in groups]
    if len({plugins for _, plugins in having_what}) < 2:
        return
    for (having, larger), (lacking, smaller) in permutations(having_what, 2):
        more = larger - smaller
        # `>` of sets: everything that the smaller one has, and more.
        if not (smaller and larger > smaller and _alike(having, lacking, more)):
            continue
        for name in _times(having):
            first, second = fold(having, name), fold(lacking, name)
            if first and second and first.mean and second.mean and second.first.interval:
                yield StepCost(
                    plugins=tuple(sorted(more)),
                    name=name,
                    having=having.label,
                    lacking=lacking.label,
                    seconds=first.mean,
                    plain=second.mean,
                )


def _plugins(group: Group) -> frozenset[str]:
    return frozenset(section.key for trial in group.trials if trial.scorecard for section in trial.scorecard.sections)


def _alike(first: Group, second: Group, more: frozenset[str]) -> bool:
    challenges = {key.partition(".")[0] for key in more}
    return all(
        value == second.settings.get(key)
        for key, value in first.settings.items()
        if key.partition(".")[0] not in challenges
    )


def _times(group: Group) -> list[str]:
    found = (item for trial in group.trials for items in trial.measurements.values() for item in items)
    repeated = (item for item in found if item.timing and item.unit == "s" and item.interval and not item.at)
    return list(dict.fromkeys(item.name for item in repeated))
