"""Accuracy under a change of the input, paired with the clean answer example by example."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from steelyard.measurement import Better, Measurement
from steelyard.statistics import mean_interval, proportion
from steelyard_stability._intervals import paired_drop


def accuracy_rows(
    right: Tensor, still: Tensor, *, at: Mapping[str, str | float], split: str, note: str
) -> Iterator[Measurement]:
    """`accuracy` after the change, and `accuracy_drop` paired with the clean answer.

    Args:
        right: How right each clean answer is, from 0 to 1 (N,).
        still: How right it is after the change (N,).
        at: The point of the curve.
        split: Of the examples.
        note: What was done to them.
    """
    count, paired = len(right), f"paired with the clean answer; {note}"
    if bool(((right == 0) | (right == 1)).all()) and bool(((still == 0) | (still == 1)).all()):
        yield proportion("accuracy", int(still.sum()), count, better=Better.HIGHER, split=split, at=dict(at), note=note)
        lost, gained = int((right > still).sum()), int((right < still).sum())
        drop, interval = paired_drop(lost=lost, gained=gained, count=count)
    else:
        # An answer of many places is right in part.
        mean, around = mean_interval(still, low=0, high=1)
        yield Measurement(
            name="accuracy",
            value=mean,
            interval=around,
            better=Better.HIGHER,
            count=count,
            split=split,
            at=dict(at),
            note=note,
        )
        drop, interval = mean_interval(right - still, low=-1, high=1)
    yield Measurement(
        name="accuracy_drop",
        value=drop,
        better=Better.LOWER,
        interval=interval,
        count=count,
        at=dict(at),
        split=split,
        note=paired,
    )
