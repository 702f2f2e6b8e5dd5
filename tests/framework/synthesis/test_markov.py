import math
from itertools import pairwise

import pytest
import torch

from steelyard.synthesis import Markov


def walk(count, length, *, seed):
    """Sounds of a chain whose probabilities are known."""
    following = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6]])
    generator = torch.Generator().manual_seed(seed)
    codes = torch.zeros(count, length, dtype=torch.long)
    for t in range(1, length):
        codes[:, t] = torch.multinomial(following[codes[:, t - 1]], 1, generator=generator)[:, 0]
    return codes, following


def test_the_chain_is_found():
    codes, following = walk(50, 400, seed=0)
    found = Markov.fitted(codes, val=walk(10, 400, seed=1)[0], levels=3)
    torch.testing.assert_close(found.following, following.double(), atol=0.02, rtol=0)
    torch.testing.assert_close(found.following.sum(dim=1), torch.ones(3, dtype=torch.float64))


def test_bits_are_the_mean_of_the_logarithms():
    codes, _ = walk(5, 30, seed=0)
    found = Markov.fitted(codes, val=codes, levels=3)
    for row, bits, alone in zip(codes.tolist(), found.bits(codes), found.alone(codes), strict=True):
        chances = [found.first[row[0]], *(found.following[a, b] for a, b in pairwise(row))]
        assert float(bits) == pytest.approx(-sum(math.log2(chance) for chance in chances) / 30)
        assert float(alone) == pytest.approx(-sum(math.log2(found.first[level]) for level in row) / 30)


def test_looking_back_helps_and_what_was_never_seen_costs_no_infinity():
    codes, _ = walk(50, 100, seed=0)
    found = Markov.fitted(codes, val=walk(5, 100, seed=1)[0], levels=5)
    assert float(found.bits(codes).mean()) < float(found.alone(codes).mean())
    assert bool(torch.isfinite(found.bits(torch.tensor([[4, 3, 0, 2]]))).all())


def test_the_strength_of_the_prior_is_the_validation_splits_choice():
    codes, _ = walk(3, 20, seed=0)
    random = torch.randint(3, (20, 50), generator=torch.Generator().manual_seed(2))
    near, far = Markov.fitted(codes, val=walk(20, 50, seed=1)[0], levels=3), Markov.fitted(codes, val=random, levels=3)
    assert float(near.bits(random).mean()) > float(far.bits(random).mean())
