# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Word and character errors by torchmetrics, text by text, and the rate over all texts with its interval."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from steelyard.statistics import resampled

DRAWS = 1000


class Texts(Protocol):
    """What was said and what was heard."""

    @property
    def truth(self) -> Any:
        """One text for each example."""
        ...

    @property
    def found(self) -> Any:
        """One text for each example."""
        ...


def word_errors(texts: Texts) -> tuple[Tensor, Tensor]:
    """Errors and words of each text: (N,) and (N,)."""
    from torchmetrics.functional.text import word_error_rate

    return _errors(texts, word_error_rate, size=lambda text: len(text.split()))


def character_errors(texts: Texts) -> tuple[Tensor, Tensor]:
    """Errors and letters of each text, spaces included: (N,) and (N,)."""
    from torchmetrics.functional.text import char_error_rate

    return _errors(texts, char_error_rate, size=len)


def error_rate(
    errors: Tensor, sizes: Tensor, *, seed: int, level: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """All errors over all words, and the percentile interval of the bootstrap over the texts (Bisani and Ney 2004).

    See `resampled` for where there is none.

    Args:
        errors: Of each text (N,).
        sizes: Words of each text (N,), not all 0.
        seed: Of the draws.
        level: Between 0 and 1.
    """
    drawn = np.random.default_rng(seed).integers(len(errors), size=(DRAWS, len(errors)))
    rates = errors.numpy()[drawn].sum(axis=1) / np.maximum(1, sizes.numpy()[drawn].sum(axis=1))
    return float(errors.sum() / sizes.sum()), resampled(rates, level=level)


def _errors(texts: Texts, rate: Callable[..., Tensor], *, size: Callable[[str], int]) -> tuple[Tensor, Tensor]:
    sizes = torch.tensor([size(truth) for truth in texts.truth], dtype=torch.float64)
    rates = [rate([found], [truth]) for found, truth in zip(texts.found, texts.truth, strict=True)]
    return (torch.stack(rates).double() * sizes).round(), sizes
