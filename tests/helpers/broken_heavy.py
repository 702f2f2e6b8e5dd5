"""A declaration that imports torch."""

from dataclasses import dataclass

import torch

from helpers.broken import Subject


@dataclass(frozen=True, kw_only=True)
class Heavy(Subject):
    """Is heavy."""

    def halved(self) -> torch.Tensor:
        return torch.ones(1) / 2
