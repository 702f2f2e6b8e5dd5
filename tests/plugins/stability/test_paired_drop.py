import numpy as np
import pytest

from steelyard_stability._intervals import paired_drop


def test_the_value_is_lost_minus_gained() -> None:
    drop, (low, high) = paired_drop(lost=36, gained=6, count=300)

    assert drop == pytest.approx(0.1)
    assert 0 < low < drop < high


def test_it_keeps_its_width_where_nothing_changed() -> None:
    drop, (low, high) = paired_drop(lost=0, gained=0, count=100)

    assert drop == 0
    assert low == -high
    assert 0.03 < high < 0.05


@pytest.mark.parametrize(("lose", "gain", "count"), [(0.04, 0.01, 200), (0.3, 0.0, 50), (0.01, 0.01, 1000)])
def test_it_covers_at_least_as_often_as_it_says(lose: float, gain: float, count: int) -> None:
    stream = np.random.default_rng(0)
    drawn = stream.multinomial(count, [lose, gain, 1 - lose - gain], size=1000)

    covered = 0
    for lost, gained, _ in drawn:
        low, high = paired_drop(lost=int(lost), gained=int(gained), count=count)[1]
        covered += low <= lose - gain <= high

    assert covered / 1000 >= 0.945
