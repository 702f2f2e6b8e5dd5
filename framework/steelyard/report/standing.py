"""Which group is best at something, in words, and whether chance could have done it."""

from collections.abc import Sequence

from steelyard.report.numbers import Style
from steelyard.report.words import listing
from steelyard.trials.folding import Folded, Group, Noise, best, told_apart


def standing(groups: Sequence[Group], folded: Sequence[Folded | None], spread: Noise | None, style: Style) -> str:
    """One phrase, e.g. "best: plain, by 0.05"; "" where there is nothing to compare or no direction."""
    measured = [(group, item) for group, item in zip(groups, folded, strict=True) if item and item.mean is not None]
    if len(measured) < 2:
        return ""
    better = measured[0][1].first.better
    means = [item.mean for _, item in measured if item.mean is not None]
    if len(set(means)) == 1:
        return "equal" if len(measured) == len(groups) else "equal where measured"
    if better is None:
        return ""
    top = best(means, better)
    leader, leading = next(pair for pair in measured if pair[1].mean == top)
    others = [(group, item) for group, item in measured if group is not leader]
    equals = [group.label for group, item in others if told_apart(leading, item, spread) is False]
    if len(equals) == len(others):
        return "not told apart: " + ("within the noise of seeds" if spread else "the intervals overlap")
    gap = min(abs(top - item.mean) for group, item in others if item.mean is not None and group.label not in equals)
    words = f"best: {leader.label}, by {style.show(gap).full}"
    if equals:
        words = f"best: {leader.label}; not told apart from it: {listing(equals)}"
    return words + _caution(leading, others, spread)


def _caution(leading: Folded, others: Sequence[tuple[Group, Folded]], spread: Noise | None) -> str:
    if leading.first.timing:
        return "; times differ from run to run"
    unknown = any(told_apart(leading, item, spread) is None for _, item in others)
    chancy = leading.first.count is not None
    return "; one seed and no interval, so chance is not ruled out" if unknown and chancy else ""
