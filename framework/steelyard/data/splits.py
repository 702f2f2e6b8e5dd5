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

    def cut(self, limit: int | None) -> "Splits":
        """At most `limit` examples in each split; all of them for None."""
        return Splits(train=self.train[:limit], val=self.val[:limit], test=self.test[:limit])


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


def split_groups(groups: Tensor, *, seed: int, val: float, test: float) -> Splits:
    """Deals out whole groups; within a split the examples are in random order.

    Args:
        groups: (N,) the group of each example, from 0.
        seed: The split seed.
        val: Fraction of the groups for validation.
        test: Fraction of them for the test.

    Raises:
        Refused: If a fraction is out of range or leaves a split empty.
    """
    dealt = split(int(groups.max()) + 1, seed=seed, val=val, test=test)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    train, vals, tests = (order[torch.isin(groups[order], part)] for part in (dealt.train, dealt.val, dealt.test))
    return Splits(train=train, val=vals, test=tests)
