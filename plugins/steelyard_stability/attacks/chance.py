"""Random numbers that belong to an example: a hash of seed, example and place, whatever batch the example is in.

A generator per example would have to be asked one example at a time; a hash answers a whole batch at once.
"""

import torch
from torch import Tensor

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WORD = 1 << 64
BITS = 53
"""Of a double's mantissa."""


def mixed(words: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele et al. 2014): a bijection of 64-bit words that leaves no pattern.

    Args:
        words: int64 of any shape, read as unsigned.
    """
    words = words + _signed(GOLDEN)
    words = (words ^ _shifted(words, 30)) * _signed(FIRST)
    words = (words ^ _shifted(words, 27)) * _signed(SECOND)
    return words ^ _shifted(words, 31)


def uniform(numbers: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Uniform draws in [0, 1) for each example: (B, count), doubles.

    Args:
        numbers: Which example each row is (B,).
        count: Draws for each.
        seed: Of the run.
        stream: What the draws are for; other streams share nothing.
    """
    start = mixed(torch.tensor([_signed(seed % WORD)], device=numbers.device))
    rows = mixed(mixed(start + stream) ^ numbers.long())
    places = torch.arange(count, device=numbers.device)
    words = mixed(rows[:, None] + places * _signed(GOLDEN))
    return _shifted(words, 64 - BITS).double() / (1 << BITS)


def normal(numbers: Tensor, count: int, *, seed: int, stream: int) -> Tensor:
    """Standard normal draws for each example: (B, count), doubles (Box and Muller 1958)."""
    half = -(-count // 2)
    draws = uniform(numbers, 2 * half, seed=seed, stream=stream)
    # 1 - u is in (0, 1], whose logarithm is finite.
    length = (-2 * (1 - draws[:, :half]).log()).sqrt()
    angle = 2 * torch.pi * draws[:, half:]
    return torch.cat([length * angle.cos(), length * angle.sin()], dim=1)[:, :count]


def _shifted(words: Tensor, by: int) -> Tensor:
    """To the right, zeros coming in: torch's own shift copies the sign."""
    return (words >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    return word - WORD if word >= WORD // 2 else word
