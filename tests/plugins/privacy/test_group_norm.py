"""Group normalisation in the place of batch normalisation, explicitly."""

from typing import Any

import pytest
import torch
from torch import nn

from private_runs import Task, data, make_draft
from steelyard import assembly
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.testing import PluginSuite
from steelyard_privacy._group_norm import group_norm
from steelyard_privacy.dp_sgd import DPSGD
from steelyard_privacy.group_norm import GroupNormalisation

PRIVATE = DPSGD(target_epsilon=None, noise_multiplier=1.0)


class TestGroupNorm(PluginSuite):
    plugin = GroupNormalisation()
    key = "privacy.group_norm"


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(12), (5, 12)),
        (nn.BatchNorm2d(12, eps=1e-3), (5, 12, 3, 2)),
        (nn.BatchNorm3d(12, track_running_stats=False), (5, 12, 2, 2, 2)),
        (nn.BatchNorm2d(12, affine=False).double(), (5, 12, 3, 2)),
        (nn.SyncBatchNorm(12).eval(), (5, 12, 4)),
    ],
)
def test_it_normalises_groups_of_each_example_alone(norm: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    if norm.weight is not None:
        nn.init.normal_(norm.weight)
        norm.bias.requires_grad_(False)
    made = group_norm(norm, groups=8)
    dtype = torch.float64 if norm.weight is None else torch.float32
    inputs = torch.randn(shape, dtype=dtype)
    groups = inputs.reshape(5, 4, -1)
    expected = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, correction=0, keepdim=True) + norm.eps).sqrt()
    expected = expected.reshape(shape)
    if norm.weight is not None:
        places = (1, 12, *[1] * (len(shape) - 2))
        expected = expected * norm.weight.view(places) + norm.bias.view(places)
        assert not made.bias.requires_grad
    assert made.training == norm.training
    torch.testing.assert_close(made(inputs), expected)
    torch.testing.assert_close(made(inputs[:1]), made(inputs)[:1])


def test_a_layer_in_two_places_stays_one() -> None:
    shared = nn.BatchNorm1d(6)
    task = Task(nn.Sequential(shared, nn.Linear(6, 6), shared))
    GroupNormalisation(groups=4).attach(make_draft(task, data()))
    assert task.model[0] is task.model[2]
    assert task.model[0].num_groups == 2


def test_private_training_takes_what_was_replaced() -> None:
    """The problem is a note before the layers are changed, and is looked at again afterwards."""
    selected = [Selected("privacy.dp_sgd", PRIVATE), Selected("privacy.group_norm", GroupNormalisation())]
    draft = make_draft(Task(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))), data(), max_epochs=1)
    notes = [problem.message for problem in preflight(selected, draft)]
    assert any("looked at again once privacy.group_norm changed the modules" in note for note in notes)
    assert any("takes the place of model.1" in note for note in notes)
    attachments = assembly.attach(selected, draft)
    assert isinstance(draft.task.model[1], nn.GroupNorm)
    (row,) = attachments["privacy.group_norm"].measure(None)
    assert (row.value, row.note) == (1, "model.1")


def test_what_nobody_replaces_is_refused_when_it_is_attached() -> None:
    layer = nn.InstanceNorm1d(4, track_running_stats=True)
    selected = [Selected("privacy.dp_sgd", PRIVATE), Selected("privacy.group_norm", GroupNormalisation())]
    draft = make_draft(Task(nn.Sequential(nn.Linear(6, 4), layer)), data(), max_epochs=1)
    preflight(selected, draft)
    with pytest.raises(Refused, match="running statistics"):
        assembly.attach(selected, draft)


def test_a_layer_without_channels_is_refused() -> None:
    found = list(GroupNormalisation().preflight(make_draft(Task(nn.LazyBatchNorm1d()), data())))
    assert [problem.level for problem in found] == ["error", "note"]
