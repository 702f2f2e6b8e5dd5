from functools import partial

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn

from steelyard.tasks import Classification
from steelyard.testing import PluginSuite
from steelyard_compute import Accumulation, Budget, Checkpointing, EarlyStopping, Freeze, Precision


class TestPrecision(PluginSuite):
    plugin = Precision()


class TestAccumulation(PluginSuite):
    plugin = Accumulation(batches=2)


class TestEarlyStopping(PluginSuite):
    plugin = EarlyStopping(patience=0)


class TestFreeze(PluginSuite):
    plugin = Freeze(weights=("*.weight",), but=("*2*",))


class TestBudget(PluginSuite):
    plugin = Budget(steps=4, examples=1000, flops=1e12, seconds=1000)


class TestCheckpointing(PluginSuite):
    plugin = Checkpointing()

    def task(self, data: LightningDataModule) -> LightningModule:
        model = nn.Sequential(
            nn.Flatten(),
            nn.Sequential(nn.Linear(36, 16), nn.ReLU(), nn.Dropout(0.2)),
            nn.Sequential(nn.Linear(16, 3), nn.Dropout(0.2)),
        )
        return Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.2), classes=3)
