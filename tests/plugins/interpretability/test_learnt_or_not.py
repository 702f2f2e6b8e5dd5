"""The number that tells whether explanations rest on what was learnt, on models and data that it was not tuned on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningDataModule
from sklearn.datasets import load_breast_cancer, load_wine
from torch import nn

from planted import VOCABULARY, WORDS, Mapped, Waves, sounds, texts
from small_runs import TABLE, Points, frozen, train
from steelyard.adapters import Adapter, ClassScoring
from steelyard.adapters.audio import AudioAdapter
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.text import TextAdapter
from steelyard.models.bert import Bert
from steelyard.tasks import Classification
from steelyard_interpretability import Faithfulness
from steelyard_interpretability._trials import tried
from steelyard_interpretability._verdicts import verdict
from steelyard_stability._ood import auroc

SEEDS = (101, 102, 103)
PLUGIN = Faithfulness(methods=("integrated_gradients",), samples=16, pictures=0, stages=1, neighbours=0)
PLAIN = ImageAdapter(scoring=ClassScoring(), bounds=None)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An architecture and what it learns: seed -> data."""

    data: Callable[[int], LightningDataModule]
    model: Callable[[], nn.Module]
    classes: int
    epochs: int
    adapter: Adapter = TABLE


def table(load: Callable[..., Any], seed: int) -> LightningDataModule:
    found = load()
    values = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    order = np.random.default_rng(seed).permutation(len(values))
    return Points(torch.tensor(values[order], dtype=torch.float32), torch.tensor(found.target[order]))


def gratings(seed: int) -> LightningDataModule:
    """Waves of four directions, of any phase, in noise: 14 x 14."""
    stream = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (480,), generator=stream)
    down, across = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
    angle = labels[:, None, None] * torch.pi / 4
    phase = 6.3 * torch.rand(480, 1, 1, generator=stream)
    waves = torch.sin(1.3 * (down * angle.cos() + across * angle.sin()) + phase)
    return Points((waves + 0.7 * torch.randn(480, 14, 14, generator=stream))[:, None], labels)


def looks() -> nn.Module:
    body = (nn.Conv2d(1, 12, 5), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(12, 16, 3), nn.GELU(), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(144, 4))


def mixes() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(196, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 4))


def narrow() -> nn.Module:
    layers = [layer for _ in range(3) for layer in (nn.Linear(10, 10), nn.LeakyReLU())]
    return nn.Sequential(nn.Linear(30, 10), nn.LeakyReLU(), *layers, nn.Linear(10, 2))


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(13, 200), nn.SiLU(), nn.Linear(200, 3))


def listens() -> nn.Module:
    body = (
        nn.Conv1d(1, 20, 48, stride=8),
        nn.SiLU(),
        nn.AdaptiveMaxPool1d(1),
        nn.Flatten(),
        nn.Linear(20, 20),
        nn.SiLU(),
    )
    return Waves(*body, nn.Linear(20, 5))


def reads() -> nn.Module:
    return Bert(vocab_size=VOCABULARY, max_length=WORDS, classes=5, width=24, layers=2, heads=3, dropout=0.0)


KINDS = {
    "wine": Kind(data=partial(table, load_wine), model=wide, classes=3, epochs=8),
    "cells": Kind(data=partial(table, load_breast_cancer), model=narrow, classes=2, epochs=8),
    "waves, convolutions": Kind(data=gratings, model=looks, classes=4, epochs=8, adapter=PLAIN),
    "waves, layers": Kind(data=gratings, model=mixes, classes=4, epochs=12, adapter=PLAIN),
    "texts": Kind(
        data=lambda seed: Mapped(texts(800, seed)[0]),
        model=reads,
        classes=5,
        epochs=6,
        adapter=TextAdapter(scoring=ClassScoring(), bounds=None),
    ),
    "sounds": Kind(
        data=lambda seed: Points(*sounds(800, seed)[0]),
        model=listens,
        classes=5,
        epochs=12,
        adapter=AudioAdapter(scoring=ClassScoring(), bounds=None, sample_rate=1600),
    ),
}


def gaps(kind: Kind, seed: int) -> tuple[float, float, float]:
    """What the scorecard says as `weights_gap` of a trained model, and of one that has learnt nothing; accuracy."""
    data = kind.data(seed)

    def task() -> Classification:
        return Classification(model=kind.model(), optimizer=partial(torch.optim.Adam, lr=0.004), classes=kind.classes)

    torch.manual_seed(seed)
    untaught = frozen(task(), data, adapter=kind.adapter, seed=seed)
    taught = frozen(train(task, data, epochs=kind.epochs, seed=seed), data, adapter=kind.adapter, seed=seed)
    found: list[float] = []
    for run in (taught, untaught):
        trials = tried(run, PLUGIN)
        found.append(float(verdict(trials, trials.trials["integrated_gradients"]).untaught.mean()))
    return found[0], found[1], float(taught.predict("val").marks.mean())


@pytest.mark.slow
def test_learnt_is_told_from_not_learnt_on_models_and_data_that_nothing_was_tuned_on() -> None:
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name, kind in KINDS.items():
        found[name] = [gaps(kind, seed) for seed in SEEDS]
        print(name, [[round(x, 3) for x in row] for row in found[name]], flush=True)
    learnt, unlearnt, right = (np.array([row[place] for rows in found.values() for row in rows]) for place in range(3))
    assert right.min() > 0.7
    value, (low, high) = auroc(learnt, unlearnt)
    print(f"AUROC {value:.3f} [{low:.3f}, {high:.3f}] of {len(learnt)} learnt and {len(unlearnt)} unlearnt models")
    assert value >= 0.98
    assert low > 0.9
