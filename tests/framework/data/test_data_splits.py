import pytest
import torch

from steelyard.data.splits import split
from steelyard.problem import Refused


@pytest.mark.parametrize("count", [3, 100, 1797])
@pytest.mark.parametrize("test", [0.0, 0.3])
def test_everybody_is_in_exactly_one_split(count, test):
    splits = split(count, seed=3, val=0.3, test=test)
    together = torch.cat([splits.train, splits.val, splits.test])
    assert together.sort().values.tolist() == list(range(count))
    assert len(splits.val) == round(0.3 * count)
    assert len(splits.test) == round(test * count)


def test_the_split_seed_alone_decides():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = split(50, seed=0, val=0.2, test=0.2)
    torch.manual_seed(2)
    assert torch.equal(one.test, split(50, seed=0, val=0.2, test=0.2).test)
    assert not torch.equal(one.test, split(50, seed=1, val=0.2, test=0.2).test)
    torch.manual_seed(1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("val", "test"), [(0.0, 0.2), (1.0, 0.0), (0.6, 0.5), (-0.1, 0.1), (0.2, -0.1), (float("nan"), 0)]
)
def test_fractions_out_of_range_are_refused(val, test):
    with pytest.raises(Refused, match=r"data\.val_fraction") as caught:
        split(100, seed=0, val=val, test=test)
    assert caught.value.problems[0].fix.startswith("data.val_fraction=")


def test_too_few_examples_are_refused():
    with pytest.raises(Refused, match="2 examples are too few"):
        split(2, seed=0, val=0.1, test=0.1)
