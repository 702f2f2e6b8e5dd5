import pytest
import torch
from torch import nn

from small_runs import TABLE, Points, bits, frozen, same_bits, table_task
from steelyard.measurement import Measurement
from steelyard_stability import Consistency
from steelyard_stability._consistency import WAYS, ConsistencyAttachment

POINTS = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))


class Coupled(nn.Module):
    """Subtracts the mean of the batch, as an untracked BatchNorm does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.layer(inputs - inputs.mean(dim=0))


class Chance(nn.Module):
    """Draws while it answers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.layer(inputs) + torch.randn(len(inputs), 2)


class Ranked(nn.Module):
    """Favours whoever comes first."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs):
        place = torch.arange(len(inputs))
        return self.layer(inputs) + 3.0 * torch.stack([-place, place], dim=1)


def changed(model, *, examples=50):
    torch.manual_seed(0)
    task = table_task(model())
    data = Points(POINTS, (POINTS[:, 0] > 0).long(), batch_size=16)
    run = frozen(task, data, adapter=TABLE)
    before = bits(task)
    rows = [row for row in ConsistencyAttachment(Consistency(examples=examples)).measure(run)]
    assert same_bits(before, bits(task))
    assert all(isinstance(row, Measurement) for row in rows)
    return {row.at["way"]: row for row in rows}


def test_a_plain_model_answers_the_same():
    rows = changed(lambda: nn.Linear(4, 2))
    assert set(rows) == set(WAYS)
    assert {way: row.value for way, row in rows.items() if way != "bfloat16"} == {
        "again": 0,
        "alone": 0,
        "order": 0,
        "threads": 0,
    }
    assert rows["alone"].count == 50
    assert "shift of a probability" in rows["bfloat16"].note


def test_chance_shows_when_asked_again():
    assert changed(Chance)["again"].interval[0] > 0


def test_neighbours_show_when_asked_alone():
    rows = changed(Coupled)
    assert rows["alone"].interval[0] > 0
    assert rows["again"].value == rows["order"].value == 0


def test_the_place_in_the_batch_shows_in_another_order():
    rows = changed(Ranked)
    assert rows["order"].interval[0] > 0
    assert rows["again"].value == 0


@pytest.mark.parametrize("examples", [2, 17, 50, 1000])
def test_no_more_examples_are_asked_than_wanted(examples):
    assert changed(lambda: nn.Linear(4, 2), examples=examples)["again"].count == min(examples, 50)
