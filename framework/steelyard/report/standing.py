"""Which group is best at something, in words, and whether chance could have done it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from steelyard.report.numbers import Style
from steelyard.report.words import listing
from steelyard.trials.folding import Folded, Group, Noise, best, paired, told_apart


class Kind(StrEnum):
    """How the groups stand to each other."""

    NOTHING = "nothing"
    """Fewer than two measured it, or neither direction is better."""
    EQUAL = "equal"
    NOT_TOLD_APART = "not told apart"
    """Chance could have made all the difference between the leader and everybody else."""
    SHARED = "shared"
    """Chance could have put the leader before some of the others."""
    BEST = "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the groups stand to each other in one measurement.

    Attributes:
        kind: See `Kind`.
        words: One phrase, e.g. "best: plain, by 0.05"; "" where there is nothing to compare.
        leader: The best group's label; "" where there is none.
        doubtful: True where nothing says what chance could have done.
    """

    kind: Kind = Kind.NOTHING
    words: str = ""
    leader: str = ""
    doubtful: bool = False


def standing(groups: Sequence[Group], folded: Sequence[Folded | None], spread: Noise | None, style: Style) -> Standing:
    """Compares the best group with every other."""
    measured = [(group, item) for group, item in zip(groups, folded, strict=True) if item and item.mean is not None]
    if len(measured) < 2:
        return Standing()
    better = measured[0][1].first.better
    means = [item.mean for _, item in measured if item.mean is not None]
    if len(set(means)) == 1:
        return Standing(kind=Kind.EQUAL, words="equal" if len(measured) == len(groups) else "equal where measured")
    if better is None:
        return Standing()
    top = best(means, better)
    leader, leading = next(pair for pair in measured if pair[1].mean == top)
    others = [(group, item) for group, item in measured if group is not leader]
    verdicts = {group.label: told_apart(leading, item, spread) for group, item in others}
    equals = [label for label, apart in verdicts.items() if apart is False]
    if len(equals) == len(others):
        reason = "within the noise of seeds" if spread else _reason(leading, [item for _, item in others])
        return Standing(kind=Kind.NOT_TOLD_APART, words=f"not told apart: {reason}")
    gap = min(abs(top - item.mean) for group, item in others if item.mean is not None and group.label not in equals)
    words = f"best: {leader.label}, by {style.show(gap).full}"
    if equals:
        words = f"best: {leader.label}; not told apart from it: {listing(equals)}"
    # A number that nobody sampled, such as a size, has no chance in it.
    doubtful = None in verdicts.values() and (leading.first.timing or leading.first.count is not None)
    return Standing(
        kind=Kind.SHARED if equals else Kind.BEST,
        words=words + _caution(leading, doubtful=doubtful),
        leader=leader.label,
        doubtful=doubtful,
    )


def _reason(leading: Folded, others: Sequence[Folded]) -> str:
    by_example = all(paired(leading, item) is not None for item in others)
    return "chance in the choice of examples, each held against itself" if by_example else "the intervals overlap"


def _caution(leading: Folded, *, doubtful: bool) -> str:
    if leading.first.timing:
        return "; differs from run to run"
    return "; one seed and no interval, so chance is not ruled out" if doubtful else ""
