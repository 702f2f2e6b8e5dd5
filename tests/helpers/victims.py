"""Small models to attack, trained on the digits in a second."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from steelyard_stability.attacks import Ball, ClassAim, Norm, Scene


@functools.cache
def digits_data() -> tuple[Tensor, Tensor]:
    """Pixels (1797, 1, 8, 8) from 0 to 1, and classes."""
    found: Any = load_digits()
    return torch.tensor(found.images / 16, dtype=torch.float32)[:, None], torch.tensor(found.target)


def mlp(width: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def cnn(width: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * width, 10),
    )


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def fitted(make: Callable[[], nn.Module], *, seed: int = 0, epochs: int = 15, noise: float = 0.0) -> nn.Module:
    """Trained on the first 1200 digits by Adam; with noise it is harder to fool."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
        inputs, targets = digits_data()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
        for _ in range(epochs):
            for rows in torch.randperm(1200).split(64):
                optimizer.zero_grad()
                given = inputs[rows] + noise * torch.randn_like(inputs[rows])
                nn.functional.cross_entropy(model(given), targets[rows]).backward()
                optimizer.step()
    model.zero_grad()
    return model.eval()


def held(count: int) -> tuple[Tensor, Tensor]:
    """Digits that no model was trained on."""
    inputs, targets = digits_data()
    return inputs[-count:], targets[-count:]


def scene(
    model: nn.Module,
    inputs: Tensor,
    *,
    radius: float,
    norm: Norm = Norm.LINF,
    decisions: Tensor | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    first: int = 0,
    **others: Any,
) -> Scene:
    """The model's own decisions under attack."""

    def ask(given: Tensor, rows: Tensor) -> Tensor:
        del rows
        return model(given)

    with torch.no_grad():
        aim = ClassAim.of(ask, model(inputs), decisions)
    return Scene(
        aim=aim,
        centre=inputs,
        numbers=torch.arange(first, first + len(inputs)),
        ball=Ball(norm=norm, radius=radius, bounds=bounds),
        **others,
    )
