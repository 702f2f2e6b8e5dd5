"""The scene of an attack: examples, a model, a ball; and what one look at the model tells."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from steelyard_stability.attacks.aim import Aim, Loss
from steelyard_stability.attacks.ball import Ball


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Some examples under attack.

    Attributes:
        aim: The decisions to be changed, by the number of the row here.
        centre: The clean inputs (N, ...), in the raw range.
        numbers: Which example of the split each row is (N,): what is drawn for it depends on that alone.
        ball: How far the attack may go.
        seed: Of what is drawn.
        batch: Rows that the model sees at once.
        until: `time.monotonic()` at which an attack stops, or None.
    """

    aim: Aim
    centre: Tensor
    numbers: Tensor
    ball: Ball
    seed: int = 0
    batch: int = 64
    until: float | None = None

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self.until is not None and time.monotonic() >= self.until

    def parts(self, count: int) -> list[slice]:
        """Batches of so many rows: as few as there can be, of nearly one length, as a small rest costs as much."""
        number = -(-count // self.batch)
        edges = [count * place // number for place in range(number + 1)] if number else []
        return [slice(first, last) for first, last in pairwise(edges)]

    def look(self, inputs: Tensor, rows: Tensor, loss: Loss) -> "Look":
        """One pass forward and back.

        Args:
            inputs: (b, ...).
            rows: Which rows of the scene these are (b,).
            loss: Whose gradient is asked for.
        """
        parts = [self._whole(inputs[part], rows[part], loss) for part in self.parts(len(rows))]
        gradient, fooled, losses = (_joined(column) for column in zip(*parts, strict=True))
        return Look(gradient=gradient, fooled=fooled, losses=losses)

    def slope(self, rows: Tensor, loss: Loss) -> Callable[[Tensor], Tensor]:
        """Of inputs for these rows the gradient alone (b, ...), for an attack that does not ask how it stands.

        Args:
            rows: Of one batch (b,).
            loss: Whose gradient is asked for.
        """
        total = self.aim.total(rows, loss)

        def of(inputs: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = inputs.detach().requires_grad_()
                return slope(total(self.aim.ask(leaf, rows)), leaf)

        return of

    @torch.no_grad()
    def judge(self, inputs: Tensor, rows: Tensor, loss: Loss | None = None) -> tuple[Tensor, Tensor]:
        """Whether each decision has changed (b,), and the losses (b,); one pass forward."""
        fooled: list[Tensor] = []
        losses: list[Tensor] = []
        for part in self.parts(len(rows)):
            outputs = self.aim.ask(inputs[part], rows[part])
            fooled.append(self.aim.fooled(outputs, rows[part]))
            if loss is not None:
                losses.append(self.aim.losses(outputs, rows[part], loss))
        return torch.cat(fooled), torch.cat(losses) if losses else torch.empty(0)

    @torch.no_grad()
    def answers(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """The raw outputs, where they are one tensor; one pass forward."""
        return torch.cat([self.aim.ask(inputs[part], rows[part]) for part in self.parts(len(rows))])

    def _whole(self, inputs: Tensor, rows: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            outputs: Any = self.aim.ask(leaf, rows)
            losses = self.aim.losses(outputs, rows, loss)
            gradient = slope(losses, leaf)
        with torch.no_grad():
            return gradient, self.aim.fooled(outputs, rows), losses.detach()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a pass told of b rows.

    Attributes:
        gradient: Of each row's loss (b, ...); 0 where there is none.
        fooled: Whether the decision has changed (b,).
        losses: (b,).
    """

    gradient: Tensor
    fooled: Tensor
    losses: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an attack brought home, for b rows.

    Attributes:
        inputs: Inside the ball: one that fools the model, else the last or best one (b, ...).
        fooled: Whether it does (b,).
        whole: False where the time was up before the attack came to its end.
        looks: Rows that went through the model, counted once for each time.
    """

    inputs: Tensor
    fooled: Tensor
    whole: bool = True
    looks: int = 0


def slope(losses: Tensor, leaf: Tensor) -> Tensor:
    """The gradient at each input (b, ...) of its loss (b,), or of the sum (): 0 where there is no number or none."""
    if not losses.requires_grad:
        return torch.zeros_like(leaf)
    # Only of the inputs: the weights' gradients are the training's. Ones in place of a sum spare two operations.
    (found,) = torch.autograd.grad(losses, leaf, grad_outputs=torch.ones_like(losses), materialize_grads=True)
    return found.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts])
