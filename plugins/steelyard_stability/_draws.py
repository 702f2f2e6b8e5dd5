"""Noise that belongs to an example, whatever batch it comes in."""

import numpy as np
import torch
from torch import Tensor


def draws(seed: int, *, first: int, like: Tensor) -> Tensor:
    """Standard normal noise for the examples number `first`, `first` + 1, ... of a split.

    Args:
        seed: The seed of the run.
        first: Number of the first example in the split.
        like: The inputs (B, ...) that give shape, type and device.
    """
    # One NumPy stream per example: the same numbers on every device, and seeds that differ by one share nothing.
    rows = [
        np.random.default_rng([seed, first + row]).standard_normal(like.shape[1:], dtype=np.float32)
        for row in range(len(like))
    ]
    return torch.as_tensor(np.stack(rows), device=like.device, dtype=like.dtype)
