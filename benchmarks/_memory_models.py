"""Models that no constant of the forecast comes from, for `process_memory.py`."""

import torch
from torch import Tensor, nn

LEVELS = 17
"""Grey levels of a digit."""


class Recurrent(nn.Module):
    """Reads an image row by row.

    Args:
        kind: "LSTM" or "GRU".
        width: Units of a layer.
        layers: One upon the other.
    """

    def __init__(self, kind: str, width: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.read = getattr(nn, kind)(8, width, layers, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 8, 8)."""
        return self.head(self.read(images.flatten(0, 1))[0][:, -1])


class Patches(nn.Module):
    """A small vision transformer over patches of 2x2 pixels.

    Args:
        width: Of a token.
        layers: Of the encoder.
    """

    def __init__(self, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, width, 2, stride=2)
        self.places = nn.Parameter(torch.zeros(16, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, activation="gelu", batch_first=True)
        self.encode = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 8, 8)."""
        tokens = self.cut(images).flatten(2).transpose(1, 2) + self.places
        return self.head(self.encode(tokens).mean(1))


class Looked(nn.Module):
    """The sum of what a large table says of each pixel, and a linear layer.

    Args:
        rows: Of the table; a pixel and its grey level choose one.
        width: Of a row.
    """

    def __init__(self, rows: int = 20_000, width: int = 256) -> None:
        super().__init__()
        self.rows = rows
        self.table = nn.Embedding(rows, width)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, 8, 8) of grey levels in [0, 1]."""
        levels = (images.flatten(1) * (LEVELS - 1)).long().clamp(0, LEVELS - 1)
        chosen = (levels * 64 + torch.arange(64, device=images.device)) * 7919 % self.rows
        return self.head(self.table(chosen).sum(1))
