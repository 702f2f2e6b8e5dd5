"""A LightningModule that knows nothing of Steelyard.

In this folder: `steelyard run task=custom task._target_=stranger.Net +task.width=16 trainer.max_epochs=3`.
"""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn


class Net(pl.LightningModule):
    """Two layers for pictures of 8x8 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("test/acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)
