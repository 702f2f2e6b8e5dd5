"""How much a device can do at most, and what a batch has in it."""

import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from steelyard.devices import wait_for

SIDE = 768
LEAST_SECONDS = 0.05


def matmul_peak(device: torch.device, format: torch.dtype) -> float:
    """FLOP/s of large square matrix products on this device in this format: the best of several."""
    side = SIDE if device.type == "cpu" else 8 * SIDE
    # Of changing bits: with those of ones a GPU takes less power, and so is faster than it will ever be.
    one = torch.rand(side, side, device=device, generator=torch.Generator(device).manual_seed(0)).to(format)
    best, left = 0.0, 3
    while left:
        turns, start = 0, _now(device)
        while turns == 0 or _now(device) - start < LEAST_SECONDS:
            torch.mm(one, one)
            turns += 1
        best = max(best, turns * 2 * side**3 / (_now(device) - start))
        left -= 1
    return best


def tokens(batch: Any) -> Tensor | None:
    """Real tokens of a batch of texts, by its attention mask; None for other batches."""
    found = _mask(batch)
    return None if found is None else found.sum()


def _mask(batch: Any) -> Tensor | None:
    parts: tuple[Any, ...] = cast("tuple[Any, ...]", batch) if isinstance(batch, tuple | list) else (batch,)
    for part in parts:
        if isinstance(part, Mapping):
            mask: Any = cast("Mapping[str, Any]", part).get("attention_mask")
            if isinstance(mask, Tensor):
                return mask
    return None


def _now(device: torch.device) -> float:
    wait_for(device)
    return time.perf_counter()
