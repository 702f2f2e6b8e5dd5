"""Questions to small models, for the methods of explanation."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steelyard_interpretability.methods.question import Question


def to_model(
    model: nn.Module,
    inputs: Tensor,
    *,
    baselines: Tensor | None = None,
    units: Tensor | None = None,
    decisions: Tensor | None = None,
    **settings: Any,
) -> Question:
    """What spoke for the class that a model of logits (N, C) decides on."""
    model.eval()
    with torch.no_grad():
        chosen = model(inputs.clone()).argmax(dim=1) if decisions is None else decisions
    return to_score(
        lambda x, rows: model(x).gather(1, chosen[rows][:, None])[:, 0],
        inputs,
        baselines=baselines,
        units=units,
        task=model,
        **settings,
    )


def to_score(
    score: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    *,
    baselines: Tensor | None = None,
    units: Tensor | None = None,
    numbers: Sequence[int] | None = None,
    **settings: Any,
) -> Question:
    """A question to a function; each element is a unit unless told otherwise, a pixel across its channels in images."""
    shape = inputs.shape[1:]
    if units is None:
        count = shape[-2:].numel() if len(shape) == 3 else shape.numel()
        units = torch.arange(count).view(shape[-2:] if len(shape) == 3 else shape).expand(shape)
    return Question(
        inputs=inputs,
        baselines=torch.zeros_like(inputs) if baselines is None else baselines,
        units=units,
        present=torch.ones(len(inputs), int(units.max()) + 1, dtype=torch.bool),
        numbers=tuple(range(len(inputs)) if numbers is None else numbers),
        seed=0,
        score=score,
        probability=score,
        **settings,
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
