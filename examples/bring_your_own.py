"""LightningModules and data modules that know nothing of Steelyard, and how it is told what they mean.

In this folder, each with all four challenges:

    steelyard run task=custom data=custom trainer.max_epochs=5 WORDS

with these WORDS, of which `task.adapter` says how to ask the module and how to read a batch:

    pictures in mappings, a mapping as output, no `forward`:
        data._target_=bring_your_own.Pictures task._target_=bring_your_own.Painter task.modality=image
        +task.adapter.fields=[pixels,digit] +task.adapter.method=predict_step +task.adapter.output=logits
    several losses, and a `forward` that gives two things:
        data=digits task._target_=bring_your_own.TwoHeads +task.adapter.output=0
    whole numbers for words:
        data._target_=bring_your_own.Sentences task._target_=bring_your_own.Reader task.modality=text
        +task.adapter.tokens=0 +task.adapter.labels=1
"""

from typing import Any

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, Dataset, random_split


class Rows(Dataset):
    """One mapping for each digit."""

    def __init__(self) -> None:
        found: Any = load_digits()
        self.pixels = torch.tensor(found.images / 16, dtype=torch.float32)[:, None]
        self.digits = torch.tensor(found.target)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixels": self.pixels[index], "digit": self.digits[index], "source": f"digit {index}"}


class Pictures(pl.LightningDataModule):
    """Batches are mappings."""

    def setup(self, stage: str) -> None:
        parts = random_split(Rows(), [0.6, 0.2, 0.2], generator=torch.Generator().manual_seed(0))
        self.train, self.val, self.test = parts

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=64, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, batch_size=64)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, batch_size=64)


class Painter(pl.LightningModule):
    """No `forward`; every step takes a mapping, and `predict_step` gives one."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        hidden = self.trunk(batch["pixels"])
        return {"hidden": hidden, "logits": self.head(hidden)}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        logits = self.predict_step(batch, batch_idx)["logits"]
        return {"loss": cross_entropy(logits, batch["digit"])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class TwoHeads(pl.LightningModule):
    """Says which digit it is and draws it again; the loss is a sum that is logged in its parts."""

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share = share
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        self.digit = nn.Linear(32, 10)
        self.again = nn.Linear(32, 64)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(pixels)
        return self.digit(hidden), self.again(hidden).view_as(pixels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        pixels, digit = batch
        logits, again = self(pixels)
        parts = {"loss_digit": cross_entropy(logits, digit), "loss_again": mse_loss(again, pixels)}
        self.log_dict(parts, on_step=False, on_epoch=True)
        return parts["loss_digit"] + self.share * parts["loss_again"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Sentences(pl.LightningDataModule):
    """Made-up sentences of twelve words out of fifty; the class is the kind of word that occurs more often."""

    def setup(self, stage: str) -> None:
        words = torch.randint(50, (600, 12), generator=torch.Generator().manual_seed(0))
        labels = ((words < 25).sum(dim=1) > 6).long()
        rows = list(zip(words, labels, strict=True))
        self.train, self.val, self.test = rows[:360], rows[360:480], rows[480:]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=32, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, batch_size=32)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, batch_size=32)


class Reader(pl.LightningModule):
    """Takes whole numbers, in which nothing can be a little different: what is weighed is what stands for them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.words(words).mean(dim=1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.02)
