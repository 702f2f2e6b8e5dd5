# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `stability=train_guard`."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import is_
from pathlib import Path
from typing import Any, final

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard_stability._faults import (
    Again,
    Fault,
    advice,
    content,
    finite,
    in_words,
    largest_gradients,
    replay,
)
from steelyard_stability._guard_book import EVIDENCE, Action, Book, decide
from steelyard_stability._norms import Gradient, largest_of
from steelyard_stability._snapshots import Buffers, Ring
from steelyard_stability._spikes import Kind, Levels, Seen
from steelyard_stability.train_guard import TrainGuard

TOLD = 10
"""Faults that are told while training runs; the report has more."""

log = logging.getLogger(__name__)


class TrainingStopped(RuntimeError):
    """Bad steps did not end, or one was more than the policy allows; the weights are those of the last good step."""


@final
class TrainGuardAttachment(Attachment):
    """Judges every step between the way back and the optimizer.

    Args:
        plugin: The settings.
        private: Whether only the gradient that is released may be looked at.
        rehearsal: Whether there are no numbers to look at.
    """

    def __init__(self, plugin: TrainGuard, *, private: bool, rehearsal: bool = False) -> None:
        # Where losses may not be looked at, what the core does with them stays.
        self.minds_losses = not private
        self._plugin, self._private, self._rehearsal = plugin, private, rehearsal
        self._levels: dict[int, Levels] = {}
        self._gradients: dict[int, Gradient] = {}
        self._book = Book()
        self._ring = Ring(plugin.snapshots)
        self._next_snapshot = 0
        self._buffers: Buffers | None = None
        self._hooks: list[Any] = []
        # Since the last step of an optimizer.
        self._open = False
        self._loss: Tensor | None = None
        self._spoilt = False
        self._suspect: tuple[Any, int] | None = None
        # Of this batch.
        self._batch: tuple[Any, int] | None = None
        self._looked: tuple[int, int] | None = None
        self._found: _Found | None = None

    # What Lightning calls.

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks once more, now that the optimizers exist.

        Raises:
            Refused: If a bad step could not be kept from the weights.
        """
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            name = type(trainer.strategy).__name__
            raise refuse(f"{name} may give a process a part of the gradient, which it cannot judge", fix="trainer=ddp")
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            message = f"trainer.precision={trainer.precision} scales gradients until they overflow"
            raise refuse(message, fix="trainer.precision=bf16-mixed")
        for optimizer in trainer.optimizers:
            if isinstance(optimizer, LBFGS):
                raise refuse("LBFGS moves the weights while it looks for a step", fix="optimizer=adam")
            if not self._rehearsal:
                self._hooks.append(optimizer.register_step_post_hook(self._check_looked))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the first snapshot."""
        self._buffers = Buffers(pl_module, watch=not self._rehearsal)
        self._snapshot(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keeps the buffers as they are before the first batch of a step."""
        self._batch, self._found, self._looked = (batch, batch_idx), None, None
        if not self._open:
            self._open, self._loss, self._spoilt, self._suspect = True, None, False, None
            if self._buffers is not None:
                self._buffers.keep()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Adds up the loss of a step."""
        if not self._private and not self._rehearsal:
            self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Gives the optimizer no gradient where the step is bad."""
        if self._rehearsal:
            return
        number = next(at for at, one in enumerate(trainer.optimizers) if one is optimizer)
        self._open = False
        again = self._looked == (trainer.global_step, number)
        self._looked = (trainer.global_step, number)
        weights: list[Tensor] = [weight for group in optimizer.param_groups for weight in group["params"]]
        seen = self._see(trainer, pl_module, self._gradient(number, weights).norm())
        self._loss = None
        levels = self._levels.setdefault(number, self._new_levels())
        kind = levels.judge(seen)
        if again:
            # An optimizer that looks twice: its second look is at other weights, where nothing is known of spikes.
            kind = Kind.GOOD if kind.spike or not kind.bad else kind
        else:
            if kind is Kind.SHIFT and trainer.is_global_zero:
                log.warning("%s: %s", self.key, shifted(seen, levels, step=trainer.global_step))
            levels.take(seen, kind)
            self._book.add(seen, kind, step=trainer.global_step)
        if not kind.bad:
            if self._found is not None and again:
                drop(weights)
            return
        if self._found is None:
            paths = {id(weight): path for path, weight in pl_module.named_parameters()}
            named = ((paths.get(id(weight), "?"), weight.grad) for weight in weights if weight.grad is not None)
            layers = largest_gradients(named)
            self._found = _Found(step=trainer.global_step, seen=seen, kind=kind, levels=levels, layers=layers)
            if again:
                self._book.turned_bad(kind)
        drop(weights)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Puts the buffers back after a bad step, writes down the evidence, and goes on, back, or ends.

        Raises:
            TrainingStopped: By policy, or because bad steps do not end.
        """
        current, self._batch = self._batch, None
        found, self._found = self._found, None
        if found is not None:
            assert self._buffers is not None
            self._buffers.restore()
            suspect, self._suspect = self._suspect or current, None
            assert suspect is not None
            self._answer(trainer, pl_module, found, suspect)
        elif self._open:
            self._look_between(current)
        else:
            self._snapshot(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lets nothing be written that is not finite.

        Raises:
            TrainingStopped: If the weights, the buffers or the state of an optimizer are not finite.
        """
        where = "" if self._rehearsal else self._ruined(trainer, pl_module)
        if where:
            raise TrainingStopped(f"{where} is not finite, so no checkpoint is written. {_way_out(trainer)}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the optimizers alone."""
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The same."""
        self._leave()

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, in plain numbers."""
        levels = {str(number): one.state() for number, one in self._levels.items()}
        return {"levels": levels, "book": self._book.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._book = Book.of(state_dict["book"])
        for number, state in state_dict["levels"].items():
            self._levels[int(number)] = self._new_levels()
            self._levels[int(number)].load(state)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What was left out, and the evidence."""
        from steelyard_stability._guard_report import told

        return told(run, self._book, self._plugin, private=self._private)

    # Seeing.

    def _new_levels(self) -> Levels:
        return Levels(factor=self._plugin.factor, window=self._plugin.window)

    def _gradient(self, number: int, weights: list[Tensor]) -> Gradient:
        """That of an optimizer, planned once for the weights that it has now."""
        known = self._gradients.get(number)
        if known is None or len(known.weights) != len(weights) or not all(map(is_, known.weights, weights)):
            known = self._gradients[number] = Gradient(weights)
        return known

    def _see(self, trainer: Trainer, task: LightningModule, norm: Tensor) -> Seen:
        """Waits for the device once; the same on every process."""
        parts = [norm]
        if not self._private:
            assert self._buffers is not None
            loss = torch.zeros(()) if self._loss is None else self._loss.mean()
            largest = torch.tensor(math.nan) if self._spoilt else largest_of(self._buffers.watched())
            parts += [loss, largest]
        together = torch.stack([part.to(task.device, torch.float32) for part in parts])
        if trainer.world_size > 1:
            # What is not finite on one is not finite on all, and everybody comes to the same decision.
            together = trainer.strategy.reduce(together, reduce_op="mean")
        assert isinstance(together, Tensor)
        values = together.tolist()
        if self._private:
            return Seen(loss=None, norm=values[0])
        return Seen(norm=values[0], loss=values[1], largest=values[2])

    def _look_between(self, current: tuple[Any, int] | None) -> None:
        """After a batch without a step: the next ones must not meet spoilt buffers."""
        if self._private or self._rehearsal or self._suspect is not None or self._buffers is None:
            return
        loss = torch.zeros(()) if self._loss is None else self._loss.mean()
        spoilt = not finite(largest_of(self._buffers.watched()))
        if spoilt or not finite(loss):
            self._suspect = current
            self._spoilt |= spoilt
            self._buffers.restore()

    # Answering.

    def _answer(self, trainer: Trainer, task: LightningModule, found: "_Found", suspect: tuple[Any, int]) -> None:
        ruined = self._ruined(trainer, task)
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(bool(ruined), all=False):
            ruined = ruined or "something on another process"
        action, reason = decide(self._plugin, self._book, ruined=ruined)
        fault = self._fault(trainer, found)
        # Each replay takes a step; the last word on a training must have one.
        if not self._private and (len(self._book.faults) < EVIDENCE or action is Action.STOP):
            again, where = self._again(trainer, task, found, suspect)
            fault = replace(fault, batch=suspect[1], where=ruined or where, content=content(suspect[0]), again=again)
        words = str(action)
        if action is Action.REWIND:
            assert self._buffers is not None
            step = self._ring.restore(trainer, self._buffers)
            self._book.went_back()
            words = f"went back to step {step}, since {reason}"
        fault = replace(fault, action=words)
        if len(self._book.faults) < EVIDENCE:
            self._book.faults.append(fault)
        if action is Action.STOP:
            raise TrainingStopped(f"{reason}. {in_words(fault)}. {advice(fault)}. {_way_out(trainer)}")
        if trainer.is_global_zero and (self._book.bad <= TOLD or action is Action.REWIND):
            log.warning("%s: %s; %s", self.key, in_words(fault), words)

    def _fault(self, trainer: Trainer, found: "_Found") -> Fault:
        seen, levels = found.seen, found.levels
        return Fault(
            step=found.step,
            epoch=trainer.current_epoch,
            kind=str(found.kind),
            loss="" if seen.loss is None else f"{seen.loss:.4g}",
            norm=f"{seen.norm:.4g}",
            usual_loss=levels.usual_loss,
            usual_norm=levels.usual_norm,
            action="",
            layers=found.layers,
        )

    def _again(
        self, trainer: Trainer, task: LightningModule, found: "_Found", suspect: tuple[Any, int]
    ) -> tuple[str, str]:
        """What a replay says, and where it saw it first."""
        if found.kind.spike and trainer.accumulate_grad_batches > 1:
            return f"{Again.UNKNOWN}: the step has several batches", ""
        assert self._buffers is not None
        replayed = replay(trainer, task, suspect[0], suspect[1], buffers=self._buffers)
        bad = replayed.seen is not None and found.levels.alone(replayed.seen).bad
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce_boolean_decision(bad, all=False)
        if bad:
            return str(Again.REPRODUCIBLE), replayed.where
        if replayed.seen is None:
            return f"{Again.UNKNOWN}: {replayed.why}", ""
        return str(Again.TRANSIENT), ""

    def _ruined(self, trainer: Trainer, task: LightningModule) -> str:
        """The first weight, buffer or state of an optimizer that is not finite; "" where all are."""
        assert self._buffers is not None
        weights = dict(task.named_parameters())
        states = [
            value
            for optimizer in trainer.optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
        ]
        filled = [weight for weight in weights.values() if weight.numel()]
        if finite(nn.utils.get_total_norm([*filled, *self._buffers.watched(), *states], norm_type=math.inf)):
            return ""
        first = next((name for name, weight in weights.items() if not finite(weight)), "")
        return first or self._buffers.name() or "the state of the optimizer"

    def _snapshot(self, trainer: Trainer) -> None:
        if self._plugin.policy != "rewind" or self._book.run or trainer.global_step < self._next_snapshot:
            return
        assert self._buffers is not None
        self._ring.keep(trainer, self._buffers)
        self._next_snapshot = trainer.global_step + self._plugin.every

    def _check_looked(self, *_: Any) -> None:
        """After every step of an optimizer.

        Raises:
            Refused: If nobody could look at it before.
        """
        if self._looked is None:
            raise refuse(
                "the task steps an optimizer past Lightning, where nobody can look: take it from `self.optimizers()`",
                fix="stability=none",
            )

    def _leave(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._gradients.clear()
        self._batch = self._suspect = self._found = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A bad step, until its batch ends.

    Attributes:
        step: Optimizer steps before it.
        seen: Its numbers.
        kind: What is bad.
        levels: What it was judged by.
        layers: The weights with the worst gradients, in words.
    """

    step: int
    seen: Seen
    kind: Kind
    levels: Levels
    layers: str


def drop(weights: Iterable[Tensor]) -> None:
    """Takes the gradients away: an optimizer leaves such weights, and all that it keeps of them, as they are."""
    for weight in weights:
        weight.grad = None


def shifted(seen: Seen, levels: Levels, *, step: int) -> str:
    """That a new level was taken, in a sentence."""
    loss = "" if seen.loss is None else f"loss {seen.loss:.4g}, before {levels.usual_loss or 0:.4g}; "
    norm = f"gradient norm {seen.norm:.4g}, before {levels.usual_norm or 0:.4g}"
    instead = "stability.train_guard.policy=rewind would go back where that went wrong"
    return f"step {step}: spikes do not end, so they are taken for a new level ({loss}{norm}); {instead}"


def _way_out(trainer: Trainer) -> str:
    """Where the training can be taken up."""
    paths = [
        Path(path)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint)
        for path in (callback.last_model_path, callback.best_model_path, *callback.best_k_models)
        if path
    ]
    there = [path for path in paths if path.is_file()]
    if not there:
        return "No checkpoint was written before that"
    newest = max(there, key=lambda path: path.stat().st_mtime)
    return f"The last healthy checkpoint is {newest}"
