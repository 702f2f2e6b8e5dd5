import math

import pytest
import torch

from steelyard.models.mel import LogMel
from steelyard.synthesis import Cepstrum, distances


def frames(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slowly(one, other):
    """All monotonous paths, one after another."""
    scale = 10 / math.log(10) * math.sqrt(2)

    def ways(i, j):
        here = scale * float((one[i] - other[j]).square().sum().sqrt())
        if i == j == 0:
            return [(here, 1)]
        before = [ways(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
        return [(here + cost, steps + 1) for way in before for cost, steps in way]

    cost, steps = min(ways(len(one) - 1, len(other) - 1))
    return cost / steps


def test_the_alignment_is_the_cheapest_of_all():
    one, other = frames(4, 5, 3), frames(4, 6, 3, seed=1)
    wanted = [slowly(a, b) for a, b in zip(one, other, strict=True)]
    assert distances(one, other).tolist() == pytest.approx(wanted)


def test_a_sound_that_is_only_slower_is_the_same_sound():
    one = frames(1, 6, 4)
    slower = one.repeat_interleave(2, dim=1)
    assert float(distances(one, one)) == 0
    assert float(distances(one, slower)) == 0
    assert float(distances(one, slower.flip(dims=(1,)))) > 1


def test_the_distance_is_symmetrical():
    one, other = frames(2, 5, 3), frames(2, 5, 3, seed=1)
    torch.testing.assert_close(distances(one, other), distances(other, one))


def test_with_all_coefficients_it_is_the_difference_of_two_spectra_in_decibels_without_their_means():
    bands = 40
    cepstrum, mel = Cepstrum(sample_rate=8000, coefficients=bands - 1), LogMel(sample_rate=8000, mels=bands)
    sounds = torch.rand(2, 800, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [0.1]])
    decibels = 10 / math.log(10) * mel(sounds).double()
    level = decibels - decibels.mean(dim=1, keepdim=True)
    wanted = (level[0] - level[1]).square().mean(dim=0).sqrt()
    found = cepstrum(sounds)
    each = torch.stack([distances(found[:1, [t]], found[1:, [t]])[0] for t in range(found.shape[1])])
    torch.testing.assert_close(each, wanted, atol=1e-4, rtol=1e-4)


def test_loudness_counts_for_nothing_where_it_is_loud_enough():
    cepstrum = Cepstrum(sample_rate=8000)
    sound = torch.randn(1, 800, generator=torch.Generator().manual_seed(0))
    assert float(distances(cepstrum(sound), cepstrum(3 * sound))) < 0.1
