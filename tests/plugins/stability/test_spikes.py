"""What a bad step is, on series whose faults are known."""

import math

import numpy as np
import pytest
import torch

from steelyard_stability._spikes import LARGEST, LEAST, SHIFT, Kind, Levels, Seen, limit

SERIES, STEPS = 20, 1000


def clean(seed: int) -> list[float]:
    """A loss that falls to 0.3, with 5 % of noise."""
    noise = np.random.default_rng(seed).normal(1.0, 0.05, STEPS)
    return [float((0.3 + 2 * math.exp(-step / 200)) * noise[step]) for step in range(STEPS)]


def judged(losses: list[float], norms: list[float] | None = None, *, window: int = 32) -> list[Kind]:
    levels = Levels(factor=8.0, window=window)
    kinds: list[Kind] = []
    for loss, norm in zip(losses, norms or [1.0] * len(losses), strict=True):
        seen = Seen(loss=loss, norm=norm)
        kinds.append(levels.judge(seen))
        levels.take(seen, kinds[-1])
    return kinds


def bad(kinds: list[Kind]) -> list[int]:
    return [step for step, kind in enumerate(kinds) if kind.bad]


def test_a_clean_series_has_at_most_one_false_alarm_in_ten_thousand_steps() -> None:
    assert sum(len(bad(judged(clean(seed)))) for seed in range(SERIES)) <= 0.1 * SERIES * STEPS / 1000


@pytest.mark.parametrize("times", [2.0, 5.0, 1e4])
def test_one_spike_is_seen_and_nothing_after_it(times: float) -> None:
    for seed in range(SERIES):
        losses = clean(seed)
        at = int(np.random.default_rng(seed).integers(200, 900))
        losses[at] *= times
        assert bad(judged(losses)) == [at]


def test_five_spikes_in_a_row_are_seen_one_by_one() -> None:
    for seed in range(SERIES):
        losses = clean(seed)
        for at in range(500, 505):
            losses[at] *= 2
        assert bad(judged(losses)) == [*range(500, 505)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_bad_at_once_and_leaves_no_trace(value: float) -> None:
    for at in (0, 3, 500):
        losses = clean(0)
        losses[at] = value
        assert bad(judged(losses)) == [at]
        assert judged(losses)[at] is Kind.LOSS


def test_a_new_level_is_taken_within_ten_steps() -> None:
    for seed in range(SERIES):
        losses = [loss * (3 if step >= 500 else 1) for step, loss in enumerate(clean(seed))]
        kinds = judged(losses)
        assert bad(kinds) == [*range(500, 500 + SHIFT)]
        assert kinds[500 + SHIFT] is Kind.SHIFT
        assert SHIFT < 10


def test_after_a_new_level_spikes_are_told_from_it() -> None:
    losses = [loss * (3 if step >= 500 else 1) for step, loss in enumerate(clean(0))]
    losses[700] *= 5
    assert bad(judged(losses)) == [*range(500, 500 + SHIFT), 700]


def test_heavy_tails_are_no_spikes() -> None:
    """Losses of a model that has learned: most batches are easy, some a hundred times harder."""
    rng = np.random.default_rng(0)
    losses = [float(value) for value in np.exp(rng.normal(-5.0, 1.2, 20_000))]
    assert len(bad(judged(losses))) <= 2


def test_a_gradient_spikes_alone() -> None:
    norms = [float(norm) for norm in np.random.default_rng(1).normal(1.0, 0.1, STEPS)]
    norms[400], norms[600] = 30.0, 1.5
    kinds = judged(clean(0), norms)
    assert bad(kinds) == [400]
    assert kinds[400] is Kind.NORM_SPIKE


def test_losses_below_zero_are_judged_by_their_distances() -> None:
    losses = [float(loss) for loss in np.random.default_rng(2).normal(-3.0, 0.1, 200)]
    losses[100] = 0.5
    assert bad(judged(losses)) == [100]


def test_a_constant_series_does_not_make_spikes_of_everything() -> None:
    losses = [1.0] * 100
    losses[60], losses[80] = 1.3, 2.0
    assert bad(judged(losses)) == [80]


def test_nothing_is_a_spike_before_there_are_enough_steps() -> None:
    assert bad(judged([1.0] * (LEAST - 1) + [1e6])) == []
    assert bad(judged([1.0] * LEAST + [1e6])) == [LEAST]


def test_a_norm_whose_square_is_not_finite_in_32_bits_is_bad() -> None:
    levels = Levels(factor=None, window=32)
    assert levels.judge(Seen(loss=1.0, norm=LARGEST)) is Kind.GRADIENT
    assert levels.judge(Seen(loss=1.0, norm=math.nan)) is Kind.GRADIENT
    assert levels.judge(Seen(loss=1.0, norm=1e17)) is Kind.GOOD
    assert torch.tensor(LARGEST).square().isfinite()
    assert torch.tensor(20 * LARGEST).square().isinf()


def test_a_buffer_that_is_not_finite_is_bad() -> None:
    assert Levels(factor=8.0, window=32).judge(Seen(loss=1.0, norm=1.0, largest=math.inf)) is Kind.BUFFER


def test_where_nobody_may_see_losses_norms_are_judged() -> None:
    levels = Levels(factor=8.0, window=32)
    for _ in range(40):
        seen = Seen(loss=None, norm=1.0)
        levels.take(seen, levels.judge(seen))
    assert levels.judge(Seen(loss=None, norm=20.0)) is Kind.NORM_SPIKE
    assert levels.usual_loss is None


def test_the_limit_is_median_and_mad_of_the_logarithms() -> None:
    logs = np.random.default_rng(3).normal(0.0, 0.3, 33)
    middle = np.median(logs)
    expected = math.exp(middle + 8 * 1.4826 * np.median(np.abs(logs - middle)))
    assert limit([math.exp(value) for value in logs], factor=8.0, floor=0.05) == pytest.approx(expected, rel=1e-12)


def test_state_comes_back() -> None:
    levels, other = Levels(factor=8.0, window=32), Levels(factor=8.0, window=32)
    for loss in [*clean(0)[:50], 100.0, 100.0]:
        seen = Seen(loss=loss, norm=1.0)
        levels.take(seen, levels.judge(seen))
    other.load(levels.state())
    assert other.state() == levels.state()
    assert other.judge(Seen(loss=50.0, norm=1.0)) is levels.judge(Seen(loss=50.0, norm=1.0)) is Kind.LOSS_SPIKE
