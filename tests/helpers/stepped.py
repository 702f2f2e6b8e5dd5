"""A model that hides its gradient, as a run makes it by name."""

import torch
from torch import Tensor, nn


class Stepped(nn.Module):
    """Sees digits in eight shades of grey: what is rounded has no slope."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, given: Tensor) -> Tensor:
        return self.layers(torch.round(given * 7) / 7)
