"""Sounds that need no synthesiser: each word is a tone of its own, each voice says it at another pitch."""

from collections.abc import Mapping
from typing import Any

import torch

from steelyard.data import Corpus, InMemory


class Tones(InMemory):
    """Three words by ten voices, four times each: (T,) in [-1, 1]."""

    modality = "audio"
    bounds = (-1.0, 1.0)
    names = ("low", "middle", "high")
    sample_rate = 4000

    def __init__(self, *, length: int = 400, batch_size: int = 12, limit: int | None = None) -> None:
        super().__init__(batch_size=batch_size, limit=limit)
        self.length = length

    def read(self) -> Corpus:
        words, voices = torch.arange(3).repeat(40), torch.arange(10).repeat_interleave(12)
        drawing = torch.Generator().manual_seed(0)
        hertz = torch.tensor([150.0, 400.0, 900.0])[words] * (0.9 + 0.02 * voices)
        times = torch.arange(self.length) / self.sample_rate
        phases = torch.rand(120, 1, generator=drawing)
        sounds = 0.5 * torch.sin(2 * torch.pi * (hertz[:, None] * times + phases))
        noise = 0.01 * torch.randn(120, self.length, generator=drawing)
        return Corpus(inputs=(sounds + noise).clamp(-1, 1), targets=words, classes=3, groups=voices)

    def moments(self) -> Mapping[str, Any]:
        return {"mean": 0.0, "std": 1.0, "sample_rate": self.sample_rate, "names": self.names}
