from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from helpers import tiny
from small_runs import (
    IMAGES,
    TABLE,
    Points,
    bits,
    digits,
    digits_task,
    flags,
    frozen,
    same_bits,
    streams,
    table_task,
    train,
)
from steelyard.attachment import Attachment
from steelyard.measurement import Measurement, Status
from steelyard.runs import Seconds
from steelyard_compute import Cost
from steelyard_compute._cost import CostAttachment
from steelyard_compute._receipt import Receipt

TOLD = [
    "step_seconds",
    "peak_memory",
    "energy",
    "parameters",
    "flops_per_step",
    "examples_per_second",
    "flops_per_example",
    "forward_flops_per_example",
    "mfu",
    "train_flops",
    "train_seconds",
    "trainable_parameters",
    "process_memory",
]


def rows(attachment: CostAttachment, run: Any) -> dict[str, Measurement]:
    return {row.name: row for row in attachment.measure(run) if isinstance(row, Measurement) and not row.at}


def points(count: int = 96) -> Points:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return Points(inputs, (inputs[:, 0] > 0).long(), batch_size=32)


def linear_task() -> LightningModule:
    return table_task(nn.Linear(4, 2))


@pytest.fixture(scope="module")
def weighed() -> dict[str, Measurement]:
    cost = CostAttachment(TABLE)
    task = train(linear_task, points(), epochs=4, callbacks=[cost])
    return rows(cost, frozen(task, points(), adapter=TABLE))


def test_everything_is_told_once(weighed: dict[str, Measurement]) -> None:
    assert list(weighed) == TOLD
    assert all(row.stands for row in weighed.values())
    assert CostAttachment.measures_last


def test_sizes_and_flops_are_the_closed_form(weighed: dict[str, Measurement]) -> None:
    assert weighed["parameters"].value == weighed["trainable_parameters"].value == 10
    # One layer: forward and the gradient of the weights.
    assert weighed["flops_per_step"].value == 2 * (2 * 32 * 4 * 2)
    assert weighed["flops_per_example"].value == 2 * (2 * 4 * 2)
    assert weighed["train_flops"].value == 4 * 3 * weighed["flops_per_step"].value
    assert weighed["forward_flops_per_example"].value == 2 * 4 * 2
    assert "multiply-accumulate is 2" in weighed["flops_per_step"].note
    assert "not counted" not in weighed["flops_per_step"].note


def test_times_are_of_all_steps_but_the_counted_one(weighed: dict[str, Measurement]) -> None:
    steps, speed = weighed["step_seconds"], weighed["examples_per_second"]
    assert steps.count == 4 * 3 - 1
    assert speed.count == 32 * 11
    assert steps.timing
    assert speed.timing
    assert steps.interval is not None
    assert steps.value is not None
    assert steps.interval[0] <= steps.value <= steps.interval[1]
    assert 0 < steps.value * 11 < 3 * (weighed["train_seconds"].value or 0)


def test_frozen_weights_are_told_apart() -> None:
    task = table_task(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    task.model[0].requires_grad_(False)

    found = rows(CostAttachment(TABLE), frozen(task, points(), adapter=TABLE, trained=False))

    assert found["parameters"].value == 23
    assert found["trainable_parameters"].value == 8


def test_without_training_only_the_forward_pass_is_weighed() -> None:
    before = CostAttachment(TABLE)
    train(linear_task, points(), callbacks=[before])
    cost = CostAttachment(TABLE)
    # The checkpoint that is weighed brings what its own training cost, perhaps elsewhere.
    cost.load_state_dict(before.state_dict())
    found = rows(cost, frozen(linear_task(), points(), adapter=TABLE, trained=False))

    measured = {name for name, row in found.items() if row.status is Status.MEASURED}
    assert measured == {"parameters", "trainable_parameters", "forward_flops_per_example"}
    assert list(found) == TOLD
    assert "no training" in found["flops_per_step"].note


def test_each_plugins_seconds_are_listed_but_its_own() -> None:
    cost = CostAttachment(TABLE)
    cost.key = "compute.cost"
    seconds = {"compute.cost": Seconds(1.0, 0.0), "x.probe": Seconds(0.25, 1.5, 3.0)}
    run = frozen(linear_task(), points(), adapter=TABLE, trained=False, seconds=seconds)

    spent = {(row.name, row.at["plugin"]): row.value for row in cost.measure(run) if row.at}

    assert spent == {
        ("hook_seconds", "x.probe"): 0.25,
        ("measure_seconds", "x.probe"): 1.5,
        ("measure_memory", "x.probe"): 3.0,
    }


class Convolutions(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 36, 10)
        )


@pytest.mark.parametrize("model", [None, Convolutions])
@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}])
def test_training_is_bit_identical_with_and_without_it(model: Any, settings: dict[str, Any]) -> None:
    def trained(callbacks: list[Callback]) -> tuple[dict[str, Tensor], Any, Any]:
        task = train(
            lambda: digits_task(model and model()),
            digits(),
            callbacks=callbacks,
            limit_train_batches=5,
            **settings,
        )
        return bits(task), streams(), flags(task)

    weights, random_streams, state = trained([CostAttachment(IMAGES)])
    plain_weights, plain_streams, plain_state = trained([])

    assert same_bits(weights, plain_weights)
    assert random_streams == plain_streams
    assert state == plain_state


def test_measuring_leaves_no_trace() -> None:
    cost = CostAttachment(IMAGES)
    data = digits()
    task = train(lambda: digits_task(Convolutions()), data, callbacks=[cost], limit_train_batches=2)
    run = frozen(task, data)
    before, state = bits(task), flags(task)

    rows(cost, run)

    assert same_bits(bits(task), before)
    assert flags(task) == state


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_counter_stays_behind_on_a_broken_run(error: type[BaseException]) -> None:
    class Breaks(Callback):
        def on_before_backward(self, *_: Any) -> None:
            raise error("in the middle of the counted step")

    cost = CostAttachment(TABLE)
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        train(linear_task, points(), callbacks=[cost, Breaks()])

    assert torch._C._len_torch_dispatch_stack() == 0


def test_a_first_batch_without_examples_is_not_the_one_that_counts() -> None:
    def gather(examples: list[Any]) -> Any:
        inputs = torch.stack([row for row, _ in examples]) if examples else torch.zeros(0, 4)
        return inputs, torch.zeros(len(examples)).long()

    class Poisson(Points):
        val_dataloader = None

        def train_dataloader(self) -> Any:
            inputs, targets = torch.randn(6, 4), torch.zeros(6).long()
            dataset = TensorDataset(inputs, targets)
            return DataLoader(dataset, batch_sampler=[[], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]], collate_fn=gather)

    class Sum(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(inputs)

        def training_step(self, batch: Any) -> Tensor:
            return self(batch[0]).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    cost = CostAttachment(TABLE)
    data = Poisson(torch.randn(6, 4), torch.zeros(6).long())
    task = train(Sum, data, callbacks=[cost], limit_val_batches=0)
    found = rows(cost, frozen(task, data, adapter=TABLE))

    assert found["flops_per_example"].value == 2 * (2 * 4 * 2)
    assert "5 examples" in found["flops_per_step"].note
    assert found["step_seconds"].count == 2


def test_a_checkpoint_without_predictions_can_be_weighed() -> None:
    before = CostAttachment(TABLE)
    train(linear_task, points(), callbacks=[before])
    state = before.state_dict()
    del state["receipt"]
    after = CostAttachment(TABLE)
    after.load_state_dict(state)
    assert after.state_dict()["counted"] == state["counted"]


def test_a_resumed_run_reports_the_whole(tmp_path: Any) -> None:
    first = CostAttachment(TABLE)
    task = train(linear_task, points(), epochs=2, callbacks=[first])
    state = first.state_dict()
    file = tmp_path / "state.pt"
    torch.save(state, file)

    second = CostAttachment(TABLE)
    second.load_state_dict(torch.load(file, weights_only=True))
    train(linear_task, points(), epochs=2, callbacks=[second])
    found = rows(second, frozen(task, points(), adapter=TABLE))

    assert found["step_seconds"].count == 5 + 6
    assert found["flops_per_step"].value == 2 * (2 * 32 * 4 * 2)
    assert found["train_seconds"].value > state["clock"]["training"] > 0


def test_a_compiled_task_is_not_counted_but_timed() -> None:
    def compiled_task() -> LightningModule:
        task = linear_task()
        # What `Module.compile` leaves, without paying for a compiler.
        task.model._compiled_call_impl = task.model._call_impl
        return task

    cost = CostAttachment(TABLE)
    task = train(compiled_task, points(), callbacks=[cost])
    found = rows(cost, frozen(task, points(), adapter=TABLE))

    assert found["flops_per_step"].status is Status.SKIPPED
    assert found["forward_flops_per_example"].status is Status.SKIPPED
    assert "compiled" in found["flops_per_step"].note
    assert found["step_seconds"].count == 3


def test_the_declaration_makes_the_attachment() -> None:
    class Draft:
        adapter, rehearsal = TABLE, False

    made: Any = Draft()
    assert isinstance(Cost().attach(made), CostAttachment)
    # Who rehearses counts for himself.
    made.rehearsal = True
    assert type(Cost().attach(made)) is Attachment


def test_a_checkpoint_within_the_first_steps_does_not_set_the_clock_of_the_receipt_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Epochs of three batches: the checkpoint of the first one is written while the receipt still looks."""
    seen: list[float] = []

    def add(self: Any, trainer: Any, shape: Any, *, seconds: float, joules: float | None) -> None:
        del self, trainer, shape, joules
        seen.append(seconds)

    monkeypatch.setattr(Receipt, "add", add)
    monkeypatch.setattr(Receipt, "watching", True)
    draft = tiny.draft(trainer={"max_epochs": 2})
    attachment = CostAttachment(draft.adapter)

    class Saved(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            attachment.state_dict()

    own = {"callbacks": [attachment, Saved()], "logger": False, "enable_checkpointing": False}
    Trainer(**{**draft.trainer, **own}).fit(draft.task, datamodule=draft.data)
    assert len(seen) == 6
    assert seen == sorted(seen)
