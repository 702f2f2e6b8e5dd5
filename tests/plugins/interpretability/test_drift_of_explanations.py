from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_runs import TABLE, bits, digits, digits_task, frozen, parted, same_bits, streams, table_task, train
from steelyard.measurement import Measurement, Picture, Status
from steelyard.runs import Run
from steelyard_interpretability import Drift
from steelyard_interpretability._drift import DriftAttachment
from steelyard_interpretability._keeping import Kept

PLUGIN = Drift(samples=8, pictures=2, checkpoints=4, method="input_x_gradient")
EPOCHS = 6


@pytest.fixture(scope="module")
def watched() -> tuple[DriftAttachment, Run]:
    data, attachment = digits(), DriftAttachment(PLUGIN)
    return attachment, frozen(train(digits_task, data, epochs=EPOCHS, callbacks=[attachment]), data)


def test_explanations_come_nearer_to_those_of_the_finished_model(watched: Any) -> None:
    attachment, run = watched
    items = [*attachment.measure(run)]
    curve = {row.at["epoch"]: row for row in items if isinstance(row, Measurement) and row.at}
    assert [*curve] == [2, 4, 6]
    values = [row.value for row in curve.values()]
    assert values == sorted(values)
    # The weights after the last epoch are the finished ones.
    assert values[-1] == pytest.approx(1.0)
    assert values[0] < 0.99
    rows = {row.name: row for row in items if isinstance(row, Measurement) and not row.at}
    assert rows["untrained_agreement"].interval[1] < values[0]
    assert rows["settled_epoch"].value in curve
    (picture,) = [item for item in items if isinstance(item, Picture)]
    assert "at epoch 2, epoch 4, finished." in picture.alt
    assert {item.split for item in items} == {"val"}


def test_watching_changes_no_bit_of_training_and_measuring_none_of_the_model(watched: Any) -> None:
    attachment, run = watched
    before = bits(run.task)
    [*attachment.measure(run)]
    assert same_bits(bits(run.task), before)
    train(digits_task, digits(), epochs=1, callbacks=[DriftAttachment(PLUGIN)])
    with_it = streams()
    task = train(digits_task, digits(), epochs=1)
    assert with_it == streams()
    again = train(digits_task, digits(), epochs=1, callbacks=[DriftAttachment(PLUGIN)])
    assert same_bits(bits(task), bits(again))


def test_a_linear_models_explanations_are_known_at_every_epoch() -> None:
    """Its attributions are weights x (inputs - mean), so the agreement is that of these products."""
    attachment = DriftAttachment(replace(PLUGIN, pictures=0))
    tasks = [table_task(nn.Linear(6, 2)) for _ in range(2)]
    weights = {name: value.clone() for name, value in tasks[0].state_dict().items()}
    attachment.kept.append(Kept(epoch=1, rate=0.1, weights=weights))
    run = frozen(tasks[1], parted(), adapter=TABLE)
    found = attachment.story(run)
    inputs = found.samples.inputs
    change = inputs - torch.cat([batch for batch, _ in run.loader("val")]).mean(dim=0)
    for task, shown in zip(tasks, found.maps, strict=True):
        expected = task.model.weight[found.decisions] * change
        torch.testing.assert_close(shown, expected.detach(), rtol=0, atol=1e-5)


def test_explanations_that_the_weights_do_not_change_are_invalid() -> None:
    class Brightest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.stack([inputs[:, :3].sum(dim=1), inputs[:, 3:].sum(dim=1)], dim=1)

    task = table_task(Brightest())
    attachment = DriftAttachment(PLUGIN)
    attachment.kept.append(Kept(epoch=1, rate=0.1, weights=dict(task.state_dict())))
    rows = [item for item in attachment.measure(frozen(task, parted(), adapter=TABLE)) if isinstance(item, Measurement)]
    assert rows[0].status is Status.INVALID
    assert "untrained copy" in rows[0].note


def test_what_was_not_watched_is_skipped() -> None:
    rows = [*DriftAttachment(PLUGIN).measure(frozen(table_task(nn.Linear(6, 2)), parted(), adapter=TABLE))]
    assert {row.status for row in rows if isinstance(row, Measurement)} == {Status.SKIPPED}


def test_a_method_that_nobody_knows_is_refused_before_training() -> None:
    draft: Any = None
    (problem,) = replace(PLUGIN, method="magic").preflight(draft)
    assert problem.fix == "interpretability.drift.method=integrated_gradients"


def test_limits_of_time_and_memory_leave_fewer_examples_and_say_so() -> None:
    attachment = DriftAttachment(Drift(samples=8, pictures=0, max_seconds=1e-6, max_memory_mb=0.001))
    task = table_task(nn.Sequential(nn.Linear(6, 2)))
    weights = {name: value.clone() for name, value in task.state_dict().items()}
    attachment.kept.append(Kept(epoch=1, rate=0.1, weights=weights))
    rows = [*attachment.measure(frozen(task, parted(60), adapter=TABLE))]
    first = rows[0]
    assert isinstance(first, Measurement)
    assert first.count == 2
    assert "max_seconds=1e-06 left time for 0.125 of the steps and draws and 2 of 8 examples" in first.note
    assert "max_memory_mb=0.001" in first.note
    late = [*attachment.measure(frozen(task, parted(60), adapter=TABLE, deadline=0.0))]
    assert isinstance(late[0], Measurement)
    assert "the deadline left time for" in late[0].note
