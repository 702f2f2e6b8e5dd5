"""Which groups of a large sweep stand side by side."""

from collections.abc import Sequence

from steelyard.measurement import Better
from steelyard.trials.folding import Group, fold

MOST = 24
"""Groups side by side: more would be neither read nor quick to load."""


def telling(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups that are best at the first score of each plugin, turn by turn; all where they are few."""
    if len(groups) <= MOST:
        return tuple(groups)
    rankings = [ranking for name in _first_scores(groups) if (ranking := _ranking(groups, name))]
    chosen: dict[int, Group] = {}
    for place in range(len(groups)):
        for ranking in rankings or [list(groups)]:
            if place < len(ranking) and len(chosen) < MOST:
                chosen[ranking[place].index] = ranking[place]
    return tuple(chosen[index] for index in sorted(chosen))


def _first_scores(groups: Sequence[Group]) -> list[str]:
    """Of each section the first scalar with a direction."""
    found: dict[str, str] = {}
    for group in groups:
        for trial in group.trials:
            for name, items in trial.measurements.items():
                if items[0].better is not None and not items[0].at:
                    found.setdefault(name.rpartition(".")[0], name)
    return list(found.values())


def _ranking(groups: Sequence[Group], name: str) -> list[Group]:
    """Those that measured it, the best first; empty where all have the same."""
    known = [(group, item) for group in groups if (item := fold(group, name)) and item.mean is not None]
    if len({item.mean for _, item in known}) < 2:
        return []
    sign = 1 if known[0][1].first.better is Better.LOWER else -1
    return [group for group, _ in sorted(known, key=lambda pair: sign * (pair[1].mean or 0.0))]
