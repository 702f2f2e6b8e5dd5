# pyright: reportUnknownMemberType=false
"""Integrated Gradients with as many steps as completeness asks for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

Score = Callable[[Tensor, Tensor], Tensor]
"""Inputs (B, ...) and the decisions to explain (B,) -> their scores (B,)."""

FIRST_STEPS = 7
CHUNK = 256
"""Examples x steps in one pass: small nets on a CPU get slower beyond it, and memory stays bounded."""
KEPT = 2**30
"""Bytes that one pass may keep for its backward pass: a second of sound keeps a thousand times what a digit does."""
ROUNDING = 1e-4
"""Part of the attributions' mass below which a difference is rounding: contributions that cancel are no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Attributions and what they are worth.

    Attributes:
        attributions: Shaped as the inputs (N, ...).
        errors: Completeness error as a fraction of the explained difference (N,).
        steps: Steps that were needed (N,).
        converged: Whether the error is within the tolerance (N,).
    """

    attributions: Tensor
    errors: Tensor
    steps: Tensor
    converged: Tensor


def integrated_gradients(
    score: Score,
    *,
    inputs: Tensor,
    baselines: Tensor,
    rows: Tensor,
    tolerance: float,
    max_steps: int,
    at_once: int = CHUNK,
) -> Explained:
    """Doubles the number of steps from 7 on, to 15, 31 and further, only for the examples that still need it.

    No gradient is asked for twice: what is added lies between what is there. Completeness is necessary and not
    sufficient: errors of single features may cancel.

    Args:
        score: What to explain; one score per example.
        inputs: (N, ...), without gradient.
        baselines: (N, ...), the inputs that say nothing.
        rows: What the score gets along with each input (N,), e.g. the number of the example.
        tolerance: Largest completeness error that counts as converged.
        max_steps: The last number of steps is the largest 8 * 2**k - 1 up to it.
        at_once: Examples x steps in one pass, at most; fewer where they would keep too much memory.

    Raises:
        ValueError: If the score carries no gradient of the inputs.
    """
    differentiable, kept, difference = _ends(score, inputs, baselines, rows)
    if not differentiable:
        raise ValueError(
            "the task's output carries no gradient (detached, or made of whole numbers), "
            "so Integrated Gradients has nothing to say of it"
        )
    attributions = torch.zeros_like(inputs)
    errors = torch.full_like(difference, torch.inf)
    used = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    todo = torch.arange(len(inputs), device=inputs.device)
    steps, at_once = FIRST_STEPS, max(1, min(at_once, KEPT // max(1, kept)))
    while len(todo) and steps <= max_steps:
        found = integrated(
            score,
            inputs=inputs[todo],
            baselines=baselines[todo],
            rows=rows[todo],
            steps=steps,
            at_once=at_once,
            half=attributions[todo] if steps > FIRST_STEPS else None,
        )
        attributions[todo] = found.to(attributions.dtype)
        errors[todo] = completeness_errors(found, difference=difference[todo])
        used[todo] = steps
        todo = (errors > tolerance).nonzero()[:, 0]
        steps = 2 * steps + 1
    return Explained(attributions=attributions, errors=errors, steps=used, converged=errors <= tolerance)


def integrated(
    score: Score,
    *,
    inputs: Tensor,
    baselines: Tensor,
    rows: Tensor,
    steps: int,
    at_once: int = CHUNK,
    half: Tensor | None = None,
) -> Tensor:
    """Integrated Gradients with a fixed number of steps: (N, ...).

    Args:
        score: As above, and so are the next three.
        inputs: (N, ...).
        baselines: (N, ...).
        rows: (N,).
        steps: Places on the way at which the gradient is taken.
        at_once: Examples x steps in one pass, at most.
        half: What came of (steps - 1) / 2; the places of these are among those of `steps` and are not asked again.
    """
    places, weights = _nodes(steps, inputs.dtype, inputs.device)
    if half is not None:
        places, weights = places[::2], weights[::2]
    change = inputs - baselines
    spare = [1] * (inputs.dim() - 1)
    along = min(len(places), at_once)
    size = max(1, at_once // along)
    sums: list[Tensor] = []
    # Whole examples in a pass where their steps fit, so that nothing has to be gathered.
    for first in range(0, len(inputs), size):
        some = slice(first, first + size)
        # The points come of something, so that a model may work in place on what it is given and they need no copy.
        base = baselines[some, None].detach().requires_grad_()
        move, total = change[some, None], torch.zeros_like(inputs[some])
        for at in range(0, len(places), along):
            place, weight = places[at : at + along], weights[at : at + along]
            points = torch.addcmul(base, place.view(-1, *spare), move)
            edge = get_gradient_edge(points)
            answers = score(points.flatten(0, 1), rows[some].repeat_interleave(len(place)))
            # One root is cheaper than one per example.
            (found,) = torch.autograd.grad(answers.sum(), edge)
            total += (weight @ found.view(len(total), len(place), -1)).view_as(total)
        sums.append(total)
    found = torch.cat(sums) * change if sums else change
    return found if half is None else found + half / 2


@lru_cache(maxsize=64)
def _nodes(steps: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places and weights on [0, 1] of the trapezoidal rule after a substitution with flat ends (Sidi 1993, sin^2).

    Twice as many steps keep the places and halve their weights. Straight gradients are exact, and the error falls with
    the sixth power of the steps where they are smooth; the places are dense near the ends, where a normalising layer
    changes most.
    """
    at = torch.arange(1, steps + 1, dtype=torch.float64) / (steps + 1)
    places, weights = at - (2 * math.pi * at).sin() / (2 * math.pi), (math.pi * at).sin().square() * 2 / (steps + 1)
    return places.to(device, dtype), weights.to(device, dtype)


def _ends(score: Score, inputs: Tensor, baselines: Tensor, rows: Tensor) -> tuple[bool, int, Tensor]:
    """Whether the score carries a gradient, the bytes that it keeps for one of an example, and what it loses (N,)."""
    kept: list[int] = []

    def count_and_drop(tensor: Tensor) -> None:
        kept.append(0 if tensor.is_leaf and tensor.requires_grad else tensor.numel() * tensor.element_size())

    def no_backward_pass(nothing: None) -> Tensor:
        raise RuntimeError("this pass keeps nothing for a gradient")

    both = torch.cat([inputs, baselines]).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(count_and_drop, no_backward_pass):
        scores = score(both.clone(), torch.cat([rows, rows]))
    ours, theirs = scores.detach().chunk(2)
    return scores.requires_grad, sum(kept) // max(1, len(both)), ours - theirs


def completeness_errors(attributions: Tensor, *, difference: Tensor) -> Tensor:
    """|sum of the attributions - difference| as a fraction of |difference|, one per example.

    Where positive and negative contributions nearly cancel, the fraction is taken of a ten-thousandth of their mass.
    """
    flat = attributions.flatten(1)
    floor = (ROUNDING * flat.abs().sum(1)).clamp(min=torch.finfo(difference.dtype).tiny)
    return (flat.sum(1) - difference).abs() / torch.maximum(difference.abs(), floor)
