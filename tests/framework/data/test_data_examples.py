import pytest
import torch
from torch.utils.data import DataLoader, Subset, default_collate

from steelyard.data.examples import Examples, collate


@pytest.fixture
def examples():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (10, 1, 3, 3), dtype=torch.uint8, generator=generator)
    return Examples(inputs, torch.arange(10), divisor=255.0)


def test_a_gathered_batch_is_bit_for_bit_the_stacked_one(examples):
    indices = [7, 1, 1, 3]
    stacked = default_collate([examples[index] for index in indices])
    for batch in (examples.__getitems__(indices), collate([examples[index] for index in indices])):
        assert torch.equal(batch[0], stacked[0])
        assert torch.equal(batch[1], stacked[1])
        assert batch[0].dtype == torch.float32
    assert examples[2][0].max() <= 1


def test_a_loader_over_a_subset_gathers_too(examples):
    loader = DataLoader(Subset(examples, [4, 2, 9]), batch_size=2, collate_fn=collate)
    assert [targets.tolist() for _, targets in loader] == [[4, 2], [9]]


def test_no_indices_make_an_empty_batch(examples):
    inputs, targets = examples.__getitems__([])
    assert inputs.shape == (0, 1, 3, 3)
    assert targets.shape == (0,)
    assert targets.dtype == torch.int64
