"""The live half of `fairness.parity`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from steelyard import Attachment, Better, Measurement, Picture, Run, Status, Table
from steelyard.statistics import clopper_pearson
from steelyard_fairness.parity import Parity

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One class.

    Attributes:
        right: Examples that are decided rightly.
        count: Examples.
    """

    right: int
    count: int

    @property
    def accuracy(self) -> float:
        """Part of the examples that is decided rightly."""
        return self.right / self.count


class ParityAttachment(Attachment):
    """Looks at the predictions of one split."""

    def __init__(self, plugin: Parity) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Picture | Table]:
        """The gap, and the accuracy of each class."""
        split = self._plugin.split
        predictions = run.predict(split)
        groups = by_class(predictions.decisions, predictions.targets)
        groups = {name: group for name, group in groups.items() if group.count >= self._plugin.least}
        if len(groups) < 2:
            note = f"fewer than two classes have {self._plugin.least} examples"
            yield Measurement(name="gap", status=Status.SKIPPED, split=split, note=note)
            return
        accuracies = [group.accuracy for group in groups.values()]
        yield Measurement(
            name="gap",
            value=max(accuracies) - min(accuracies),
            better=Better.LOWER,
            interval=interval(groups),
            level=LEVEL,
            count=sum(group.count for group in groups.values()),
            split=split,
            note=f"accuracy of the best minus that of the worst of {len(groups)} classes, Bonferroni",
        )
        for name, group in groups.items():
            yield Measurement(
                name="accuracy",
                value=group.accuracy,
                better=Better.HIGHER,
                interval=clopper_pearson(group.right, group.count),
                count=group.count,
                at={"class": name},
                split=split,
            )


def by_class(decisions: Tensor, targets: Tensor) -> dict[int, Group]:
    """The examples of each class, from decisions (N,) and targets (N,)."""
    right = decisions == targets
    classes = [int(name) for name in targets.unique()]
    return {
        name: Group(right=int(right[targets == name].sum()), count=int((targets == name).sum())) for name in classes
    }


def interval(groups: Mapping[int, Group]) -> tuple[float, float]:
    """What the gap may be while every class stays in its exact interval; all of them hold at once at `LEVEL`."""
    level = 1 - (1 - LEVEL) / len(groups)
    ends = [clopper_pearson(group.right, group.count, level=level) for group in groups.values()]
    lows, highs = [low for low, _ in ends], [high for _, high in ends]
    return max(0.0, max(lows) - min(highs)), max(highs) - min(lows)
