import io
import math

import pytest
import torch

from steelyard_compute._clock import KEPT, Clock, Laps, in_words, spread


def test_the_median_and_its_middle_half() -> None:
    found = spread([float(value) for value in range(1, 102)])

    assert found.median == 51
    assert found.quartiles == (26, 76)
    assert found.interval == (41, 61)


@pytest.mark.parametrize("count", [6, 11, 25, 60, 101])
def test_the_interval_of_the_median_covers_as_the_binomial_says(count: int) -> None:
    interval = spread([float(value) for value in range(1, count + 1)]).interval
    assert interval is not None
    k = int(interval[0])

    def missed(k: int) -> float:
        return 2 * sum(math.comb(count, few) for few in range(k)) / 2**count

    assert interval == (k, count + 1 - k)
    assert missed(k) <= 0.05 < missed(k + 1)


def test_too_few_steps_have_no_interval() -> None:
    assert spread([1.0, 2.0, 3.0]).interval is None


def test_the_clock_survives_a_checkpoint() -> None:
    clock = Clock()
    for _ in range(KEPT + 5):
        clock.add(0.5, examples=3)
    file = io.BytesIO()
    torch.save(clock.state(), file)
    file.seek(0)

    later = Clock()
    later.load(torch.load(file, weights_only=True))

    assert later == clock
    assert len(later.steps) == KEPT
    assert later.examples == 3 * (KEPT + 5)


def test_seconds_in_words() -> None:
    assert in_words(0.00123) == "1.23 ms"
    assert in_words(2.5) == "2.5 s"


class Mark:
    """A CUDA event of a queue that has come as far as `reached`."""

    made, reached = 0, 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        Mark.made += 1
        self.number = Mark.made

    def record(self, stream: str) -> None:
        assert stream == "queue"

    def query(self) -> bool:
        return self.number <= Mark.reached

    def elapsed_time(self, other: "Mark") -> float:
        assert self.query()
        assert other.query()
        return 1000.0 * (other.number - self.number)


def test_a_gpu_is_not_waited_for_and_tells_its_steps_when_it_has_come_to_their_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def synchronize(_: object) -> None:
        Mark.reached = Mark.made

    Mark.made = Mark.reached = 0
    monkeypatch.setattr(torch.cuda, "Event", Mark)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: "queue")
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    clock = Clock()
    laps = Laps(clock, torch.device("cuda"))
    for told in (0, 1, 1):
        laps.add(laps.mark(), laps.mark(), examples=5)
        assert len(clock.steps) == told
        Mark.reached = 3
    laps.settle()
    assert [*clock.steps] == [1.0] * 3
    assert clock.examples == 15


def test_on_the_cpu_a_step_is_told_at_once() -> None:
    clock = Clock()
    laps = Laps(clock, torch.device("cpu"))
    laps.add(1.0, 1.5, examples=4)
    assert [*clock.steps] == [0.5]
    assert laps.mark() <= laps.mark()
