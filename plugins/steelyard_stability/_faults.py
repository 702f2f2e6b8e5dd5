# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What is found out about a bad step, without leaving a trace in the training."""

import inspect
import math
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from steelyard.estimating._ledger import tensors_in
from steelyard.short_memory import ran_out
from steelyard.undisturbed import undisturbed
from steelyard_stability._norms import dense, largest_of, norm_of
from steelyard_stability._snapshots import Buffers
from steelyard_stability._spikes import Seen

LAYERS = 3
"""Weights that are named with the norm of their gradient."""
ROWS = 5
"""Rows of a batch that are named."""


class Again(StrEnum):
    """What became of the same batch on the same weights."""

    REPRODUCIBLE = "reproducible"
    TRANSIENT = "transient"
    UNKNOWN = "not replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The evidence of one bad step.

    Attributes:
        step: Optimizer steps before it.
        epoch: From 0.
        kind: What was bad.
        loss: As text, since it may be no number; "" where nobody may look.
        norm: Of the gradient, as text.
        usual_loss: Median of the good steps before; None where there were none.
        usual_norm: The same of the gradient.
        action: What was done.
        batch: Its number in the epoch; None where nobody may know.
        layers: Weights with the largest gradients, or with those that are not finite.
        where: The first module that gave something not finite; "" where none did.
        content: What is not finite in the batch; "" where all is.
        again: What a replay gave.
    """

    step: int
    epoch: int
    kind: str
    loss: str
    norm: str
    usual_loss: float | None
    usual_norm: float | None
    action: str
    batch: int | None = None
    layers: str = ""
    where: str = ""
    content: str = ""
    again: str = ""

    def state(self) -> dict[str, Any]:
        """In plain values."""
        return asdict(self)

    @classmethod
    def of(cls, state: dict[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(**state)


def in_words(fault: Fault) -> str:
    """A fault in a sentence."""
    at = f"step {fault.step} (epoch {fault.epoch}" + (")" if fault.batch is None else f", batch {fault.batch})")
    loss = f"loss {fault.loss}" + ("" if fault.usual_loss is None else f", usually {fault.usual_loss:.4g}")
    norm = f"gradient norm {fault.norm}" + ("" if fault.usual_norm is None else f", usually {fault.usual_norm:.4g}")
    parts = [
        f"{at}: {fault.kind}",
        loss if fault.loss else "",
        norm,
        f"batch: {fault.content}" if fault.content else "",
        f"first seen in {fault.where}" if fault.where else "",
        f"the same batch again: {fault.again}" if fault.again else "",
    ]
    return "; ".join(filter(None, parts))


def advice(fault: Fault) -> str:
    """What somebody can do about it."""
    if fault.content:
        return "Clean the data: it holds values that are not finite"
    if fault.again == Again.TRANSIENT:
        return "The same batch was worked through well at once: look at the machine, or go on from a checkpoint"
    return "Try a smaller optimizer.lr, or trainer.gradient_clip_val=1.0"


def finite(value: Tensor) -> bool:
    """Whether all of it is; whole numbers always are."""
    return not (value.is_floating_point() or value.is_complex()) or bool(torch.isfinite(value.detach()).all())


def largest_gradients(named: Iterable[tuple[str, Tensor]]) -> str:
    """The weights whose gradients are not finite, else those with the longest ones, with their norms.

    Args:
        named: Path and gradient.
    """
    norms = {name: float(torch.linalg.vector_norm(dense(gradient).float())) for name, gradient in named}
    wrong = [name for name, norm in norms.items() if not math.isfinite(norm)]
    if wrong:
        few = ", ".join(wrong[:LAYERS]) + (", ..." if len(wrong) > LAYERS else "")
        return f"none of {len(norms)} is finite" if len(wrong) == len(norms) else f"not finite: {few}"
    order = sorted(norms, key=lambda name: -norms[name])
    return ", ".join(f"{name} {norms[name]:.3g}" for name in order[:LAYERS])


def content(batch: Any) -> str:
    """What is not finite in a batch, in words; "" where all is."""
    found: list[str] = []
    for tensor in tensors_in(batch):
        if finite(tensor):
            continue
        bad = ~torch.isfinite(tensor.detach())
        count = int(bad.sum())
        rows = bad.reshape(len(bad), -1).any(dim=1).nonzero().flatten().tolist() if bad.dim() else []
        named = ", ".join(map(str, rows[:ROWS])) + (", ..." if len(rows) > ROWS else "")
        found.append(f"{count} of {bad.numel()} values not finite" + (f" (rows {named} of the batch)" if rows else ""))
    return "; ".join(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the same batch gave.

    Attributes:
        seen: None where it could not be replayed.
        where: The first module that gave something not finite, on the way there or back.
        why: Why it could not be replayed.
    """

    seen: Seen | None
    where: str = ""
    why: str = ""


def replay(trainer: Trainer, task: LightningModule, batch: Any, number: int, *, buffers: Buffers) -> Replayed:
    """Works through a batch again, on the weights as they are; nothing in the task or its gradients changes.

    Args:
        trainer: Its precision is used.
        task: In training mode, with the wraps on.
        batch: On the device.
        number: Of the batch in the epoch.
        buffers: Those that are looked at.
    """
    step = task.training_step
    names = [*inspect.signature(step).parameters]
    if not task.automatic_optimization or names[:1] == ["dataloader_iter"]:
        return Replayed(seen=None, why="the task's own step cannot be taken again")
    weights = [weight for weight in task.parameters() if weight.requires_grad]
    try:
        with undisturbed(task), _traced(task) as trace, torch.enable_grad():
            with trainer.precision_plugin.train_step_context():
                given = step(batch, number) if len(names) > 1 else step(batch)
            loss: Any = given.get("loss") if isinstance(given, Mapping) else given
            if loss is None:
                return Replayed(seen=None, why="the step gave no loss")
            # Not `backward`, which would touch `.grad` and wake up other processes.
            found: Any = torch.autograd.grad(loss, weights, allow_unused=True)
            gradients: list[Tensor] = [gradient for gradient in found if gradient is not None]
            seen = Seen(
                loss=float(loss.detach()), norm=float(norm_of(gradients)), largest=float(largest_of(buffers.watched()))
            )
            return Replayed(seen=seen, where=trace.found())
    except Exception as error:
        why = "memory ran out" if ran_out(error) else f"{type(error).__name__}: {error}".partition("\n")[0]
        return Replayed(seen=None, why=why)


class _Trace:
    """Sees what every module gives and gets.

    Args:
        task: Whose modules.
    """

    def __init__(self, task: nn.Module) -> None:
        self._forward = self._backward = ""
        # Kept alive, so that no other tensor gets the same id.
        self._alive: list[Tensor] = []
        self._takers: dict[int, str] = {}
        self.handles: list[Any] = []
        for path, module in task.named_modules():
            if path:
                name = f"{path} ({type(module).__name__})"
                self.handles.append(module.register_forward_pre_hook(self._enters(name), with_kwargs=True))
                self.handles.append(module.register_forward_hook(self._leaves(name)))

    def found(self) -> str:
        """The first culprit in words."""
        return self._forward or self._backward

    def _enters(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            for tensor in tensors_in((args, kwargs)):
                self._alive.append(tensor)
                self._takers[id(tensor)] = name

        return hook

    def _leaves(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for tensor in tensors_in(output):
                self._alive.append(tensor)
                if not self._forward and not finite(tensor):
                    self._forward = name
                if tensor.requires_grad:
                    tensor.register_hook(self._comes_back(name, id(tensor)))

        return hook

    def _comes_back(self, name: str, number: int) -> Any:
        def hook(gradient: Tensor) -> None:
            if not self._backward and not finite(gradient):
                taker = self._takers.get(number)
                self._backward = f"{taker}, on the way back" if taker else f"what the loss makes of {name}"

        return hook


@contextmanager
def _traced(task: nn.Module) -> Generator[_Trace]:
    trace = _Trace(task)
    try:
        yield trace
    finally:
        for handle in trace.handles:
            handle.remove()
