"""Models whose answers are known, on a thousand rows, as a run makes them by name."""

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

COUNT = 1000


class Rows(LightningDataModule):
    """Class and number of each example are its inputs, so that it can be answered rightly or wrongly at will."""

    modality = "table"

    def __init__(self) -> None:
        super().__init__()
        numbers = torch.arange(COUNT)
        inputs = torch.stack([numbers % 2, numbers], dim=1).float()
        self._rows = TensorDataset(inputs, numbers % 2)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(self._rows, batch_size=500)

    val_dataloader = test_dataloader = train_dataloader


class Wrong(nn.Module):
    """Right on all rows but one block of them.

    Args:
        which: Of two blocks, one half a point larger than the other.
    """

    def __init__(self, which: int) -> None:
        super().__init__()
        self.first, self.last = ((0, 95), (60, 160))[which]
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, given: Tensor) -> Tensor:
        wrong = (given[:, 1] >= self.first) & (given[:, 1] < self.last)
        side = torch.where(wrong, 1 - given[:, 0], given[:, 0]) * 20 - 10
        return torch.stack([-side, side], dim=1) + self.bias
