import numpy as np
import torch
from scipy import stats

from steelyard_stability._draws import draws


def test_an_example_keeps_its_noise_in_any_batch() -> None:
    like = torch.zeros(10, 2, 3)

    whole = draws(0, first=0, like=like)
    pieces = [draws(0, first=0, like=like[:4]), draws(0, first=4, like=like[4:5]), draws(0, first=5, like=like[5:])]

    assert torch.equal(whole, torch.cat(pieces))
    assert whole.shape == like.shape


def test_neighbouring_examples_and_seeds_share_nothing() -> None:
    like = torch.zeros(3, 4000)
    rows = np.concatenate([draws(seed, first=0, like=like).numpy() for seed in (0, 1)])

    off = np.corrcoef(rows)[~np.eye(6, dtype=bool)]
    assert np.abs(off).max() < 4 / np.sqrt(4000)


def test_it_is_standard_normal_and_leaves_the_global_streams() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()

    noise = draws(7, first=0, like=torch.zeros(100, 50))

    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
