"""The live half of `stability=adversarial_training`."""

import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.functional import kl_div

from steelyard._untyped import named_modules
from steelyard.adapters import IGNORED, Adapter, ClassScoring, Scoring, TokenScoring
from steelyard.attachment import Attachment
from steelyard.draft import Draft, Step
from steelyard.measurement import Artefact, Measurement, Status
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import Refused, refuse
from steelyard.runs import Run
from steelyard_stability._inner import climb, random_point
from steelyard_stability.adversarial_training import AdversarialTraining
from steelyard_stability.attacks import Ball, Norm

MEANING = "by how much the attack raised the loss of a training example, on average over the training"


def logit_axis(scoring: Scoring) -> int | None:
    """Along which dimension of the output the probabilities add up to 1; None where it is no logits."""
    return 1 if isinstance(scoring, ClassScoring) else 2 if isinstance(scoring, TokenScoring) else None


def divergences(clean: Tensor, other: Tensor, *, targets: Tensor, axis: int) -> Tensor:
    """KL(clean || other) of each example (B,), in nats; over several places their mean, without those to be ignored.

    Args:
        clean: Logits (B, C) or (B, T, V).
        other: The same shape.
        targets: (B,) or (B, T).
        axis: Of the classes.
    """
    told = kl_div(other.log_softmax(dim=axis), clean.log_softmax(dim=axis), reduction="none", log_target=True)
    found = told.sum(dim=axis)
    if axis == 1:
        return found
    counted = targets != IGNORED
    return (found * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


@final
class AdversarialTrainingAttachment(Attachment):
    """Attacks every batch before the task learns from it.

    Args:
        plugin: The settings.
        draft: The run; nothing of it is changed here.
    """

    def __init__(self, plugin: AdversarialTraining, draft: Draft) -> None:
        self._plugin, self._task, self._adapter, self._seed = plugin, draft.task, draft.adapter, draft.seed
        self._ball = Ball(norm=Norm(plugin.norm), radius=plugin.radius, bounds=draft.adapter.bounds)
        self._checked = False
        self._gain, self._steps = torch.zeros(()), 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first step of every training is looked at."""
        del trainer, pl_module
        self._checked = False

    def state_dict(self) -> dict[str, Any]:
        """What `climb` is the mean of."""
        return {"gain": float(self._gain), "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self._gain, self._steps = torch.tensor(state_dict["gain"]), state_dict["steps"]

    def wrap(self, inner: Step) -> Step:
        """The step on the attacked batch, or with what the attack adds to its loss."""
        return functools.wraps(inner)(self._trades(inner) if self._plugin.method == "trades" else self._madry(inner))

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Whether the attack that was trained against was one."""
        plugin = self._plugin
        if not run.trained or not self._steps or plugin.steps < 2:
            why = "a single step has nothing to compare with" if plugin.steps < 2 else "nothing was trained in this run"
            yield Measurement(name="climb", status=Status.SKIPPED, note=why, meaning=MEANING)
            return
        climbed = "divergence from the clean answer" if plugin.method == "trades" else "loss"
        yield Measurement(
            name="climb",
            value=float(self._gain) / self._steps,
            unit="nats",
            count=self._steps,
            split="train",
            note=f"{climbed} before the last of {plugin.steps} steps, less that at the random start, in eval mode; "
            f"{plugin.method}, {plugin.norm}, radius {plugin.radius:g} {run.adapter.unit}; mean over training steps",
            meaning=MEANING,
        )

    def _madry(self, inner: Step) -> Step:
        def outer(batch: Any, *rest: Any, **named: Any) -> Any:
            adapter, task = self._adapter, self._task
            clean = adapter.inputs(task, batch)
            targets = adapter.targets(batch)

            def losses(point: Tensor) -> Tensor:
                return adapter.scoring.losses(adapter.outputs(task, adapter.replace(batch, point)), targets)

            view = self._attacked(batch, clean, losses)
            check = not self._checked
            # Seen by the gradient for one step, to know that the task learns from the view at all.
            view = view.detach().requires_grad_() if check and not view.requires_grad else view
            attacked = adapter.replace(batch, view)
            if not (is_mapping(attacked) or is_sequence(attacked)):
                raise _deaf(task)
            loss = inner(attacked, *rest, **named)
            if check:
                _check_learns(loss, view, task)
                self._checked = True
            return loss

        return outer

    def _trades(self, inner: Step) -> Step:
        def outer(batch: Any, *rest: Any, **named: Any) -> Any:
            adapter, task = self._adapter, self._task
            clean, targets = adapter.inputs(task, batch), adapter.targets(batch)
            axis = logit_axis(adapter.scoring)
            assert axis is not None
            with self._quiet(), torch.no_grad():
                told = adapter.outputs(task, adapter.replace(batch, clean.detach()))

            def losses(point: Tensor) -> Tensor:
                other = adapter.outputs(task, adapter.replace(batch, point))
                return divergences(told, other, targets=targets, axis=axis)

            view = self._attacked(batch, clean, losses)
            self._checked = True
            loss = inner(batch, *rest, **named)
            # Without a change there is no divergence; two passes with dropout would find one.
            if loss is None or not self._plugin.radius:
                return loss
            apart = divergences(
                adapter.outputs(task, batch),
                adapter.outputs(task, adapter.replace(batch, view)),
                targets=targets,
                axis=axis,
            )
            added = self._plugin.beta * apart.mean()
            return {**loss, "loss": loss["loss"] + added} if is_mapping(loss) else loss + added

        return outer

    def _attacked(self, batch: Any, clean: Tensor, losses: Callable[[Tensor], Tensor]) -> Tensor:
        """The worst view that was found (B, ...); embeddings still know the weights that they come from."""
        plugin, adapter = self._plugin, self._adapter
        centre = clean.detach()
        if not self._checked:
            _check_view(adapter, centre)
        there = _there(adapter, batch, centre)

        def kept(point: Tensor) -> Tensor:
            return point if there is None else torch.where(there, point, centre)

        seen = centre if there is None else centre * there
        start = random_point(seen, ball=self._ball, seed=self._seed, stream=self._task.global_step)
        with self._quiet():
            found = climb(
                centre,
                kept(start),
                lambda point: losses(kept(point)),
                ball=self._ball,
                steps=plugin.steps,
                step=plugin.step,
            )
        self._gain = self._gain.to(centre.device) + (found.last - found.first).mean()
        self._steps += 1
        worst = kept(found.inputs)
        return clean + (worst - centre) if clean.requires_grad else worst

    @contextmanager
    def _quiet(self) -> Generator[None]:
        """Eval mode: neither dropout nor running statistics move."""
        modules: dict[str, nn.Module] = named_modules(self._task)
        flags = {name: module.training for name, module in modules.items()}
        self._task.eval()
        try:
            yield
        finally:
            for name, module in modules.items():
                module.training = flags[name]


def _there(adapter: Adapter, batch: Any, centre: Tensor) -> Tensor | None:
    """Where there is no padding, shaped to be broadcast over the view."""
    present = adapter.present(batch)
    return None if present is None else present.reshape(*present.shape, *[1] * (centre.dim() - present.dim()))


def _check_view(adapter: Adapter, centre: Tensor) -> None:
    if not centre.is_floating_point():
        raise refuse(
            f"the inputs are whole numbers ({centre.dtype}), which cannot be moved by a little", fix="stability=none"
        )
    if not torch.equal(adapter.clip(centre), centre):
        raise refuse(
            f"training inputs lie outside the raw range {adapter.bounds}, in which the attack would have to stay",
            fix="+task.adapter.bounds=null",
        )


def _check_learns(loss: Any, view: Tensor, task: nn.Module) -> None:
    """A task that takes its inputs from elsewhere would train plainly and say nothing."""
    total: Any = loss["loss"] if is_mapping(loss) else loss
    if total is None:
        return
    if not _depends(total, view):
        raise _deaf(task)


def _depends(total: Tensor, view: Tensor) -> bool:
    """Whether a gradient of one would reach the other: looked up, since a compiled step goes back only once."""
    goal = get_gradient_edge(view).node
    seen: set[Any] = set()
    ahead: list[Any] = [total.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is goal:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [further for further, _ in node.next_functions]
    return False


def _deaf(task: nn.Module) -> Refused:
    return refuse(
        f"the training step of {type(task).__name__} cannot be handed the view of the batch that was attacked",
        fix="stability.adversarial_training.method=trades",
    )
