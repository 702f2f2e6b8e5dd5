from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import SimpleProfiler

from helpers import tiny
from helpers.plugins import Fake, Speaking, claiming
from steelyard import assembly, training
from steelyard.attachment import Attachment
from steelyard.draft import Draft, Step
from steelyard.seam import Seam
from steelyard.selection import Selected


def fit(draft: Draft, callbacks: list[pl.Callback] | None = None, **more: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        **{**draft.trainer, "callbacks": callbacks, "num_sanity_val_steps": 0, **more},
        logger=False,
        enable_checkpointing=False,
    )
    with assembly.wrapped(draft):
        trainer.fit(draft.task, datamodule=draft.data)
    return trainer


def test_attachments_come_by_their_first_claimed_seam_and_then_by_name() -> None:
    selected = [
        Selected("z.none", Fake()),
        Selected("a.none", Fake()),
        Selected("a.length", claiming(shares=(Seam.LENGTH,))()),
        Selected("z.modules", claiming(owns=(Seam.MODULES,), shares=(Seam.LENGTH,))()),
        Selected("b.gradients", claiming(owns=(Seam.GRADIENTS,))()),
    ]
    attached = assembly.attach(selected, tiny.draft())
    assert list(attached) == ["z.modules", "b.gradients", "a.length", "a.none", "z.none"]
    assert [attachment.state_key for attachment in attached.values()] == list(attached)


def test_before_the_step_the_owner_of_the_gradients_comes_first() -> None:
    order: list[str] = []

    class Noting(Speaking):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            order.append(self.key)

    class Note(Fake):
        def attach(self, draft: Draft) -> Speaking:
            return Noting()

    class Own(Note):
        owns = frozenset({Seam.GRADIENTS})

    class Early(Note):
        shares = frozenset({Seam.MODULES})

    selected = [Selected("a.early", Early()), Selected("b.owner", Own()), Selected("c.none", Note())]
    draft = tiny.draft(trainer={"max_steps": 1})
    attachments = assembly.attach(selected, draft)
    assert list(attachments) == ["a.early", "b.owner", "c.none"]
    fit(draft, assembly.callbacks(selected, attachments))
    assert order == ["b.owner", "a.early", "c.none"]


def test_wraps_nest_in_build_order_with_batches_outermost() -> None:
    order: list[str] = []

    def noting(name: str) -> Any:
        def wrap(step: Step) -> Step:
            def outer(*args: Any) -> Any:
                order.append(name)
                return step(*args)

            return outer

        return wrap

    draft = tiny.draft(trainer={"max_steps": 1})
    draft.steps[Seam.GRAPH].append(noting("graph"))
    draft.steps[Seam.BATCHES] += [noting("batches inner"), noting("batches outer")]
    draft.steps[Seam.OBJECTIVE].append(noting("objective"))
    fit(draft)
    assert order == ["batches outer", "batches inner", "objective", "graph"]


def test_every_wrap_reaches_lightning_and_is_taken_off() -> None:
    seen: list[str] = []

    def loader(made: Any) -> Any:
        seen.append("loader")
        return made

    def optimizer(made: Any) -> Any:
        seen.append("optimizer")
        return torch.optim.SGD(tiny_task.parameters(), lr=0.0)

    draft = tiny.draft(trainer={"max_steps": 2})
    tiny_task = draft.task
    draft.loaders.append(loader)
    draft.optimizers.append(optimizer)
    before = tiny.weights(draft.task)
    fit(draft)
    assert seen == ["optimizer", "loader"]
    assert all(torch.equal(before[name], tensor) for name, tensor in draft.task.state_dict().items())
    assert "train_dataloader" not in vars(draft.data)
    assert not {"training_step", "configure_optimizers"} & set(vars(draft.task))


def test_wraps_are_taken_off_after_an_exception() -> None:
    def wrap(step: Step) -> Step:
        def outer(*_: Any) -> Any:
            raise ArithmeticError

        return outer

    draft = tiny.draft()
    draft.steps[Seam.OBJECTIVE].append(wrap)
    draft.loaders.append(lambda made: made)
    with pytest.raises(ArithmeticError):
        fit(draft)
    assert "train_dataloader" not in vars(draft.data)
    assert "training_step" not in vars(draft.task)


def test_logging_works_inside_a_wrapped_step() -> None:
    plain = fit(tiny.draft(trainer={"max_steps": 2})).callback_metrics
    draft = tiny.draft(trainer={"max_steps": 2})
    draft.steps[Seam.OBJECTIVE].append(lambda step: lambda *args: step(*args))
    assert fit(draft).callback_metrics == plain
    assert plain


def test_clocks_tick_in_existing_hooks_only() -> None:
    draft = tiny.draft(trainer={"max_steps": 2})
    selected = [Selected("a.x", Fake())]
    attachments = assembly.attach(selected, draft)
    clocks = assembly.timed(attachments)
    fit(draft, assembly.callbacks(selected, attachments))
    assert clocks["a.x"].hooks > 0
    assert "on_train_batch_start" not in vars(attachments["a.x"])
    assert attachments["a.x"].calls == ["step", "step"]  # pyright: ignore[reportAttributeAccessIssue]


def test_lightning_passes_by_the_hooks_that_a_callback_does_not_fill(tmp_path: Path) -> None:
    class Full(Attachment):
        key = "a.full"

        def on_before_zero_grad(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: object) -> None:
            told.append(trainer.global_step)

    class Empty(Attachment):
        key = "a.empty"

    told: list[int] = []
    draft = tiny.draft(trainer={"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1})
    spans = draft.trainer["profiler"] = SimpleProfiler()
    attachments = {"a.full": Full(), "a.empty": Empty()}
    trainer = training.make_trainer(tiny.config(checkpoints="none"), draft, [], attachments, tmp_path)
    training.fit(trainer, draft, None)

    assert told == [0, 1]
    assert "[Callback]a.full.on_before_zero_grad" in spans.recorded_durations
    assert "[Callback]a.empty.on_fit_start" in spans.recorded_durations
    assert not {f"[Callback]a.empty.{name}" for name in assembly._OF_A_STEP} & {*spans.recorded_durations}
