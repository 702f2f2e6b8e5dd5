"""Small chains of layers, points of theirs, and how sure a decision on them is."""

import torch
from torch import Tensor, nn

from steelyard.models.normalise import Normalise
from steelyard_stability._bounds import Box

POINTS = torch.rand(6, 1, 5, 4, generator=torch.Generator().manual_seed(0))


def perceptron() -> nn.Sequential:
    return nn.Sequential(
        Normalise((1, 5, 4), mean=0.4, std=0.3), nn.Flatten(), nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 8),
        nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def convolutions() -> nn.Sequential:
    norm = nn.BatchNorm2d(3)
    norm.running_mean, norm.running_var = torch.tensor([0.1, -0.2, 0.3]), torch.tensor([0.5, 2.0, 1.0])
    nn.init.constant_(norm.weight, -0.7)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), norm, nn.ReLU(inplace=True), nn.AvgPool2d(2, ceil_mode=True), nn.Dropout(0.5),
        nn.Conv2d(3, 4, 2, stride=1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


MODELS = {"mlp": perceptron, "cnn": convolutions}


def box(radius: float) -> Box:
    return Box(low=POINTS.double() - radius, high=POINTS.double() + radius)


def apart(logits: Tensor, decisions: Tensor) -> Tensor:
    """The logit of the decision less the best other one."""
    own = logits.gather(1, decisions[:, None])[:, 0]
    return own - logits.scatter(1, decisions[:, None], -torch.inf).amax(dim=1)
