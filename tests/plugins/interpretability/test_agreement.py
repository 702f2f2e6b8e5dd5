import numpy as np
import pytest
import torch
from scipy import stats

from steelyard_interpretability._agreement import rank_agreement


def test_ranks_agree_as_scipy_says_with_ties() -> None:
    stream = np.random.default_rng(0)
    ours, theirs = stream.integers(0, 5, (6, 40)).astype(float), stream.normal(size=(6, 40))

    found = rank_agreement(torch.tensor(ours), torch.tensor(theirs))

    assert found.tolist() == pytest.approx(
        [stats.spearmanr(*rows).statistic for rows in zip(ours, theirs, strict=True)]
    )


def test_rows_without_order_are_left_out() -> None:
    ours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    theirs = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])

    assert rank_agreement(ours, theirs).tolist() == pytest.approx([-1.0])


def test_what_is_not_present_does_not_count() -> None:
    ours = torch.tensor([[1.0, 2.0, 3.0, 7.0, 7.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    theirs = torch.tensor([[1.0, 3.0, 2.0, -9.0, 50.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    present = torch.tensor([[True, True, True, False, False], [True] * 5])
    found = rank_agreement(ours, theirs, present=present)
    assert found.tolist() == pytest.approx([stats.spearmanr([1, 2, 3], [1, 3, 2]).statistic, -1.0])
