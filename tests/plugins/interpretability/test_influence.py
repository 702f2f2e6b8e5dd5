from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_runs import TABLE, Points, frozen, parted, table_task, train
from steelyard.measurement import Measurement, Status, Table
from steelyard_interpretability import Influence
from steelyard_interpretability._influence import InfluenceAttachment
from steelyard_interpretability._keeping import Kept
from steelyard_interpretability._last_layer import ends_of, squares

FLIPPED = 20


def gradients(task: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    """The slow, obvious way: one backward pass for each example, over all weights of a linear model."""
    rows: list[Tensor] = []
    for row in range(len(inputs)):
        loss = torch.nn.functional.cross_entropy(task(inputs[row : row + 1]), labels[row : row + 1])
        rows.append(torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, [*task.parameters()])]))
    return torch.stack(rows).double()


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_model_is_traced_in_closed_form(bias: bool) -> None:
    torch.manual_seed(0)
    attachment = InfluenceAttachment(Influence(samples=4, examples=30))
    tasks = [table_task(nn.Linear(6, 2, bias=bias)) for _ in range(2)]
    rates = (0.5, 0.25)
    for epoch, (task, rate) in enumerate(zip(tasks, rates, strict=True)):
        weights = {name: value.clone() for name, value in task.state_dict().items()}
        attachment.kept.append(Kept(epoch=epoch + 1, rate=rate, weights=weights))
    run = frozen(tasks[1], parted(), adapter=TABLE)

    found = attachment.traced(run)

    inputs, labels = (torch.cat(parts) for parts in zip(*run.loader("train"), strict=True))
    some, rest = inputs[[*found.explained]], inputs[[*found.numbers]]
    expected, own = torch.zeros_like(found.influence), torch.zeros_like(found.own)
    for task, rate in zip(tasks, rates, strict=True):
        ours = gradients(task, some, found.decisions)
        theirs = gradients(task, rest, labels[[*found.numbers]])
        expected, own = expected + rate * ours @ theirs.T, own + rate * theirs.square().sum(dim=1)
    torch.testing.assert_close(found.influence, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.own, own, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def mislabelled() -> tuple[Any, list[Any]]:
    data, attachment = parted(300, flipped=FLIPPED), InfluenceAttachment(Influence(suspects=FLIPPED, checkpoints=3))

    def make() -> Any:
        return table_task(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)))

    run = frozen(train(make, data, epochs=8, callbacks=[attachment]), data, adapter=TABLE)
    return attachment, [*attachment.measure(run)]


def test_planted_wrong_labels_are_found(mislabelled: Any) -> None:
    _, items = mislabelled
    (suspects,) = [item for item in items if isinstance(item, Table) and item.name == "suspects"]
    found = sum(int(row[0]) < FLIPPED for row in suspects.rows)
    # By chance it would be between one and two.
    assert found >= FLIPPED / 2
    assert suspects.split == "train"


def test_who_is_named_serves_the_decision_and_everything_says_that_it_is_of_training_records(mislabelled: Any) -> None:
    _, items = mislabelled
    rows = {item.name: item for item in items if isinstance(item, Measurement)}
    assert [*rows] == ["step_gap", "same_label"]
    assert {item.split for item in items} == {"train"}
    assert rows["step_gap"].status is Status.MEASURED
    assert rows["step_gap"].interval[0] > 0
    assert rows["same_label"].value > 0.9


def test_no_more_weights_are_kept_than_allowed_and_they_lie_evenly(mislabelled: Any) -> None:
    attachment, _ = mislabelled
    assert [one.epoch for one in attachment.kept] == [4, 8]
    assert {one.rate for one in attachment.kept} == {0.1}
    assert not torch.equal(*(one.weights["model.0.weight"] for one in attachment.kept))


def test_what_the_last_layer_does_not_see_is_invalid() -> None:
    """The features are constant, so all that the last layer says is the label: any example would do as well."""

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(0 * inputs)

    data = parted(60)
    run = frozen(
        table_task(Blind()), Points(data.train_dataloader().dataset.tensors[0], torch.zeros(60).long()), adapter=TABLE
    )
    attachment = InfluenceAttachment(Influence(samples=6))
    rows = [item for item in attachment.measure(run) if isinstance(item, Measurement)]
    assert {row.status for row in rows} == {Status.INVALID}
    assert "no training was watched" in rows[0].note


def test_a_model_without_such_a_layer_is_skipped_and_says_why() -> None:
    class Squashed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(inputs).tanh()

    rows = [*InfluenceAttachment(Influence()).measure(frozen(table_task(Squashed()), parted(), adapter=TABLE))]
    assert {row.status for row in rows if isinstance(row, Measurement)} == {Status.SKIPPED}
    assert "last linear layer" in rows[0].note


def test_a_gradient_times_itself() -> None:
    task: Any = table_task(nn.Linear(6, 2))
    batch = next(iter(parted(20).val_dataloader()))
    ends = ends_of(task, TABLE, batch, batch[1])
    torch.testing.assert_close(squares(ends), gradients(task, *batch).square().sum(dim=1), rtol=1e-5, atol=1e-8)


def test_limits_of_time_and_memory_leave_fewer_training_examples_and_say_so() -> None:
    def rows(**limits: Any) -> list[Any]:
        deadline = limits.pop("deadline", None)
        run = frozen(table_task(nn.Linear(6, 2)), parted(200), adapter=TABLE, deadline=deadline)
        attachment = InfluenceAttachment(Influence(samples=6, **limits))
        return [item for item in attachment.measure(run) if isinstance(item, Measurement)]

    gap, same = rows(max_seconds=1e-6, max_memory_mb=0.001)
    assert "max_seconds=1e-06 left time for 2 of 200 training examples" in gap.note
    assert "max_memory_mb=0.001 allows" in gap.note
    assert (gap.count, same.count) == (2, 6)
    assert "the deadline left time for 2 of 200" in rows(deadline=0.0)[0].note
    assert "left time" not in rows(max_seconds=600.0)[0].note


def test_what_was_kept_comes_back_after_a_resume(mislabelled: Any) -> None:
    attachment, _ = mislabelled
    resumed = InfluenceAttachment(Influence(checkpoints=3))
    resumed.load_state_dict(attachment.state_dict())
    assert [one.epoch for one in resumed.kept] == [4, 8]
    for one, other in zip(resumed.kept, attachment.kept, strict=True):
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in other.weights)
    assert resumed.state_dict().keys() == {"epochs", "stride", "kept"}


def test_training_records_of_a_private_run_are_told_of_only_where_asked() -> None:
    draft: Any = type("Draft", (), {"spenders": ("privacy.dp_sgd",)})
    (problem,) = Influence().preflight(draft)
    assert problem.level == "error"
    assert "privacy.dp_sgd" in problem.message
    assert problem.fix == "interpretability.influence.training_records=true"
    assert not [*Influence(training_records=True).preflight(draft)]
