"""The models of the private benchmark, of parts that every DP library knows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader

Calling = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def called(layer: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return layer(inputs)


class Block(nn.Module):
    """A layer of a transformer, of parts that every DP library knows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, inputs: torch.Tensor, call: Calling = called) -> torch.Tensor:
        b, t, d = inputs.shape
        parts = call(self.qkv, call(self.norm1, inputs)).view(b, t, 3, self.heads, d // self.heads)
        mixed = nn.functional.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
        inputs = inputs + call(self.out, mixed.transpose(1, 2).reshape(b, t, d))
        return inputs + call(self.down, nn.functional.gelu(call(self.up, call(self.norm2, inputs))))


class Transformer(nn.Module):
    def __init__(self, *, vocabulary: int, length: int, width: int, layers: int, classes: int) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(length, width))
        self.place.requires_grad_(False)
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, inputs: torch.Tensor, call: Calling = called) -> torch.Tensor:
        inputs = call(self.words, inputs) + self.place
        for block in self.blocks:
            inputs = block(inputs, call)
        return call(self.head, call(self.norm, inputs).mean(dim=1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


def cnn() -> nn.Module:
    blocks = [(3, 32, 1), (32, 64, 2), (64, 64, 2)]
    layers = [
        part
        for wide, out, stride in blocks
        for part in (nn.Conv2d(wide, out, 3, stride=stride, padding=1), nn.GroupNorm(8, out), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def words(length: int) -> Callable[[int], torch.Tensor]:
    return lambda count: torch.randint(0, 1000, (count, length))


class ByOpacus(NamedTuple):
    """A model, its SGD, its loss and its data, as Opacus makes them private."""

    model: nn.Module
    optimizer: Any
    criterion: Any
    data: DataLoader[Any]


def by_opacus(model: nn.Module, data: DataLoader[Any], mode: str, *, drawn: bool = False) -> ByOpacus:
    """Makes them private; batches are only drawn anew by Poisson sampling where they are to be `drawn`."""
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.01), nn.CrossEntropyLoss()
    made: Any = PrivacyEngine().make_private(
        module=model,
        optimizer=optimizer,
        data_loader=data,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        grad_sample_mode=mode,
        poisson_sampling=drawn,
        **({"criterion": criterion} if mode == "ghost" else {}),
    )
    return ByOpacus(made[0], made[1], made[2] if mode == "ghost" else criterion, made[-1])


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], torch.Tensor], int]] = {
    "MLP 784-1024-1024-10, B 256": (mlp, lambda count: torch.randn(count, 784), 256),
    "transformer d128 L4 T64, B 32": (
        lambda: Transformer(vocabulary=1000, length=64, width=128, layers=4, classes=10),
        words(64),
        32,
    ),
    "transformer d384 L3 T32, B 16": (
        lambda: Transformer(vocabulary=1000, length=32, width=384, layers=3, classes=10),
        words(32),
        16,
    ),
    "CNN 3 conv, GroupNorm 32x32, B 32": (cnn, lambda count: torch.randn(count, 3, 32, 32), 32),
}
