"""Small models with a question to each, as one would ask it of Captum by hand."""

from typing import Any

import torch
from torch import Tensor, nn

from questions_to_models import noise, to_model
from steelyard_interpretability.methods.question import Question

CLASSES = torch.tensor([0, 1, 2, 1])


def table(act: nn.Module) -> Any:
    torch.manual_seed(3)
    model: Any = nn.Sequential(nn.Linear(5, 6, bias=False), act, nn.Linear(6, 4), type(act)(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[2].bias += 1  # no neuron is dead
    return model


class Pictures(nn.Module):
    """Flattens by a function: Captum's LRP knows no layer that does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        first, second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2)
        self.body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.last = nn.Linear(36, 3)
        with torch.no_grad():
            self.last.weight *= 10

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.body(inputs).flatten(1))


class Case:
    """A model, and a question to it about four examples."""

    def __init__(self, model: Any, *shape: int) -> None:
        self.model = model
        self.inputs, self.base = noise(4, *shape).double(), noise(4, *shape, seed=1).double()
        self.background = noise(3, *shape, seed=2).double()
        self.words = {"target": CLASSES}
        self.both = {"inputs": self.inputs.clone(), "baselines": self.base, **self.words}

    def ask(self, **settings: Any) -> Question:
        return to_model(
            self.model,
            self.inputs,
            baselines=self.base,
            decisions=CLASSES,
            background=self.background,
            **{"tolerance": 1e-9, "max_steps": 4096, **settings},
        )


def smooth() -> Case:
    return Case(table(nn.Tanh()), 5)


def bent() -> Case:
    return Case(table(nn.ReLU()), 5)


def seen() -> Case:
    return Case(Pictures().double(), 2, 8, 8)
