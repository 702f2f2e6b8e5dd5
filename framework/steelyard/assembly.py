"""Assembly: attaching the plugins in seam order, and putting the wraps on and off."""

import functools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from steelyard import randomness
from steelyard.attachment import Attachment
from steelyard.draft import STEP_SEAMS, Draft
from steelyard.enforcement import enforce, snapshot
from steelyard.runs import Seconds
from steelyard.seam import Seam
from steelyard.selection import Selected

HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_") or name in ("setup", "teardown"))

_OF_A_STEP = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_validation_batch_start", "on_validation_batch_end"),
)


def in_order(selected: Sequence[Selected]) -> list[Selected]:
    """By their claimed seams in build order, then by name; those that claim nothing come last.

    Of two with the same first seam the one that claims nothing more comes first, whatever its name: who only changes
    the batches has done so before somebody draws them for the gradients.
    """
    order = list(Seam)

    def rank(choice: Selected) -> tuple[list[int], str]:
        claimed = choice.plugin.owns | choice.plugin.shares
        return sorted(order.index(seam) for seam in claimed) or [len(order)], choice.key

    return sorted(selected, key=rank)


def attach(selected: Sequence[Selected], draft: Draft) -> dict[str, Attachment]:
    """Attaches every plugin and checks each.

    Returns:
        Key -> attachment, in the order in which they run.

    Raises:
        Refused: If a plugin changed what it does not claim.
    """
    attachments: dict[str, Attachment] = {}
    before = snapshot(draft)
    for choice in in_order(selected):
        with randomness.forked():
            attachment = choice.plugin.attach(draft)
        after = snapshot(draft)
        enforce(choice, before, after)
        before = after
        attachment.key = choice.key
        attachments[choice.key] = attachment
    return attachments


def callbacks(selected: Sequence[Selected], attachments: Mapping[str, Attachment]) -> list[Callback]:
    """The attachments as Lightning gets them: before the optimizer's step, the owner of GRADIENTS comes first.

    Observers then see the gradient that is applied, wherever their other seams put them in the order.
    """
    owners = [choice.key for choice in selected if Seam.GRADIENTS in choice.plugin.owns]
    if not owners or next(iter(attachments)) == owners[0]:
        return [*attachments.values()]
    owner = attachments[owners[0]]
    gate = _GradientGate([owner, *(other for other in attachments.values() if other is not owner)])
    return [gate, *attachments.values()]


class _GradientGate(Callback):
    """Calls `on_before_optimizer_step` of all attachments in one given order, in place of Lightning."""

    def __init__(self, attachments: Sequence[Attachment]) -> None:
        self._calls = [attachment.on_before_optimizer_step for attachment in attachments]
        for attachment in attachments:
            setattr(attachment, "on_before_optimizer_step", _nothing)  # noqa: B010 - an instance override

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        for call in self._calls:
            call(trainer, pl_module, optimizer)


def _nothing(*_: Any) -> None:
    pass


def spared(callbacks: Sequence[Callback]) -> Sequence[Callback]:
    """The same ones, without those hooks of a step that they do not fill.

    Lightning opens a span of its profiler for each hook of each callback, also for the empty ones, at some
    microseconds each; what cannot be called it passes by.
    """
    for callback in callbacks:
        for name in _OF_A_STEP:
            if getattr(type(callback), name) is getattr(Callback, name) and name not in vars(callback):
                setattr(callback, name, None)
    return callbacks


def timed(attachments: Mapping[str, Attachment]) -> dict[str, Seconds]:
    """Puts a clock into every hook that an attachment has; hooks that it has not cost nothing."""
    clocks = {key: Seconds() for key in attachments}
    for key, attachment in attachments.items():
        for name in HOOKS:
            if getattr(type(attachment), name) is not getattr(Callback, name):
                setattr(attachment, name, _clocked(getattr(attachment, name), clocks[key]))
    return clocks


def _clocked(hook: Callable[..., Any], clock: Seconds) -> Callable[..., Any]:
    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return hook(*args, **kwargs)
        finally:
            clock.hooks += time.perf_counter() - start

    return call


@contextmanager
def wrapped(draft: Draft) -> Generator[None]:
    """The wraps, on: instance overrides of three public methods, taken off again whatever happens.

    Lightning calls no teardown after an exception, and a delegating LightningModule breaks `self.log`.
    """
    overridden: list[tuple[object, str]] = []

    def override(target: object, name: str, outer: Callable[..., Any]) -> None:
        setattr(target, name, functools.wraps(getattr(target, name))(outer))
        overridden.append((target, name))

    try:
        if draft.loaders:
            override(draft.data, "train_dataloader", _piped(draft.data.train_dataloader, draft.loaders))
        wraps = [wrap for seam in STEP_SEAMS for wrap in draft.steps[seam]]
        if wraps:
            override(draft.task, "training_step", functools.reduce(_apply, wraps, draft.task.training_step))
        if draft.optimizers:
            override(draft.task, "configure_optimizers", _piped(draft.task.configure_optimizers, draft.optimizers))
        yield
    finally:
        for target, name in reversed(overridden):
            vars(target).pop(name)


def _apply(inner: Callable[..., Any], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Any]:
    return wrap(inner)


def _piped(inner: Callable[[], Any], wraps: Sequence[Callable[[Any], Any]]) -> Callable[[], Any]:
    def outer() -> Any:
        return functools.reduce(lambda made, wrap: wrap(made), wraps, inner())

    return outer
