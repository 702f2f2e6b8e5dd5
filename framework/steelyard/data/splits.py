"""Who belongs to which split: a function of the split seed alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from steelyard.problem import refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Indices of the examples of each split: disjoint, and together all of them.

    Attributes:
        train: For training.
        val: For looking at during training.
        test: For the scorecard.
    """

    train: Tensor
    val: Tensor
    test: Tensor


def split(count: int, *, seed: int, val: float, test: float) -> Splits:
    """Deals `count` examples out at random, by a generator of its own.

    Args:
        count: Number of examples.
        seed: The split seed.
        val: Fraction for validation.
        test: Fraction for the test; 0 where the data brings a test set of its own.

    Raises:
        Refused: If a fraction is out of range or leaves a split empty.
    """
    if not (0 < val < 1 and 0 <= test < 1 and val + test < 1):
        raise refuse(
            f"data.val_fraction={val:g} and data.test_fraction={test:g} leave nothing to train on or look at",
            fix="data.val_fraction=0.2",
        )
    vals, tests = round(count * val), round(count * test)
    if min(vals, count - vals - tests, tests if test else 1) < 1:
        raise refuse(f"{count} examples are too few for val_fraction={val:g} and test_fraction={test:g}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return Splits(test=order[:tests], val=order[tests : tests + vals], train=order[tests + vals :])
