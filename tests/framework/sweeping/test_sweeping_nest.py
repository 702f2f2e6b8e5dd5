"""Trials forked by processes that do nothing else: the same as trials forked by the sweep itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from helpers.forked import say_much
from steelyard.sweeping import pool as pools
from steelyard.sweeping.forked import Send
from steelyard.sweeping.pool import Ended, Pool, Told

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a trial with its nest")
Work = Callable[[Send], int]


@pytest.fixture
def nested() -> Iterator[Callable[..., Pool]]:
    made: list[Pool] = []

    def make(*works: Work, **given: float) -> Pool:
        """A pool whose orders are the places of these works."""
        pool = Pool(workers=1, threads=1, **given)
        pool.nest(lambda order, send: works[order - 1](send))
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.kill()


def carried_out(pool: Pool, *orders: int) -> list[Told | Ended]:
    events: list[Told | Ended] = []
    deadline = time.monotonic() + 30
    for order in orders:
        pool.start(order, not_here, order=order)
        while pool.busy:
            assert time.monotonic() < deadline
            events += pool.poll(1.0)
    return events


def not_here(send: Send) -> int:
    raise AssertionError("a nest has the order")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raising(error: BaseException) -> Work:
    def work(send: Send) -> int:
        raise error

    return work


def tell_parent(send: Send) -> int:
    send(os.getppid())
    return 0


def sleep(send: Send) -> int:
    send(os.getpid())
    time.sleep(60)
    return 0


def test_ends_are_told(nested: Callable[..., Pool]) -> None:
    works: list[Work] = [
        lambda send: 2,
        raising(SystemExit(7)),
        raising(ValueError("no")),
        lambda send: os.kill(os.getpid(), signal.SIGUSR2) or 0,
    ]
    events = carried_out(nested(*works), 1, 2, 3, 4)
    ends = [(event.number, event.code, event.signal) for event in events if isinstance(event, Ended)]
    assert ends == [(1, 2, None), (2, 7, None), (3, 3, None), (4, None, signal.SIGUSR2)]
    assert len(events) == len(ends)


def test_words_arrive_in_order_and_before_the_end(nested: Callable[..., Pool]) -> None:
    *told, ended = carried_out(nested(say_much), 1)
    assert [event.what["number"] for event in told if isinstance(event, Told)] == list(range(500))
    assert isinstance(ended, Ended)


def test_one_process_forks_them_all_and_it_is_not_the_sweep(nested: Callable[..., Pool]) -> None:
    told = [event.what for event in carried_out(nested(tell_parent), 1, 1, 1) if isinstance(event, Told)]
    assert len(told) == 3
    assert len(set(told)) == 1
    assert told[0] != os.getpid()


def test_a_trial_changes_nothing_of_the_next(nested: Callable[..., Pool]) -> None:
    shared = {"lr": 0.1}

    def look(send: Send) -> int:
        folder = os.getcwd()  # noqa: PTH109
        send((folder, os.environ.get("SPOILED"), torch.get_default_dtype(), dict(shared), "spoiled" in sys.modules))
        return 0

    def spoil(send: Send) -> int:
        os.chdir("/")
        os.environ["SPOILED"] = "1"
        torch.set_default_dtype(torch.float64)
        shared["lr"] = 9.0
        sys.modules["spoiled"] = sys
        return 0

    told = [event.what for event in carried_out(nested(look, spoil), 1, 2, 1) if isinstance(event, Told)]
    assert told[0] == told[1]


def test_unseeded_trials_draw_different_numbers(nested: Callable[..., Pool]) -> None:
    def work(send: Send) -> int:
        send(float(torch.rand(())))
        return 0

    draws = {event.what for event in carried_out(nested(work), 1, 1, 1) if isinstance(event, Told)}
    assert len(draws) == 3


def test_a_trial_that_takes_too_long_gets_its_last_words(nested: Callable[..., Pool], tmp_path: Path) -> None:
    def work(send: Send) -> int:
        try:
            time.sleep(60)
        finally:
            (tmp_path / "words").write_text("bye")
        return 0

    (ended,) = carried_out(nested(work, seconds=0.2), 1)
    assert isinstance(ended, Ended)
    assert ended.overdue
    assert (tmp_path / "words").read_text() == "bye"


def test_a_trial_that_does_not_listen_is_killed(nested: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "GRACE", 0.2)

    def work(send: Send) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
        return 0

    (ended,) = carried_out(nested(work, seconds=3.0), 1)
    assert isinstance(ended, Ended)
    assert ended.overdue
    assert ended.signal == signal.SIGKILL


def test_what_a_trial_leaves_behind_is_ended_with_it(nested: Callable[..., Pool]) -> None:
    def work(send: Send) -> int:
        send(subprocess.Popen(["sleep", "60"]).pid)
        return 0

    told, _ = carried_out(nested(work), 1)
    assert isinstance(told, Told)
    wait_until(lambda: gone(told.what))


def test_a_sweep_that_ends_early_waits_until_its_trials_are_gone(nested: Callable[..., Pool]) -> None:
    pool = nested(sleep)
    pool.start(1, not_here, order=1)
    told: list[Told | Ended] = []
    wait_until(lambda: bool(told.extend(pool.poll(1.0)) or told))
    pool.kill()
    assert isinstance(told[0], Told)
    assert gone(told[0].what)
    assert not pool.busy


def test_a_trial_ends_with_its_nest_and_the_next_has_another(nested: Callable[..., Pool]) -> None:
    def work(send: Send) -> int:
        send(os.getpid())
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
        return 0

    pool = nested(work, tell_parent)
    told, ended = carried_out(pool, 1)
    assert isinstance(told, Told)
    assert isinstance(ended, Ended)
    assert ended.signal == signal.SIGKILL
    wait_until(lambda: gone(told.what))
    told, ended = carried_out(pool, 2)
    assert isinstance(ended, Ended)
    assert ended.code == 0


def test_nests_are_forked_anew_when_asked(nested: Callable[..., Pool]) -> None:
    pool = nested(tell_parent)
    first, _, same, _ = carried_out(pool, 1, 1)
    pool.nest(lambda order, send: tell_parent(send))
    other, _ = carried_out(pool, 1)
    assert isinstance(first, Told)
    assert isinstance(same, Told)
    assert isinstance(other, Told)
    assert first.what == same.what != other.what
    wait_until(lambda: gone(first.what))


def test_a_sweep_that_is_killed_takes_nests_and_trials_along() -> None:
    code = """
import os, time
from steelyard.sweeping.pool import Pool, Told
def work(order, send):
    send((os.getppid(), os.getpid()))
    time.sleep(60)
    return 0
pool = Pool(workers=2, threads=1)
pool.nest(work)
for number in (1, 2):
    pool.start(number, None, order=number)
while True:
    for event in pool.poll(1.0):
        print(*event.what, flush=True)
"""
    sweep = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert sweep.stdout is not None
    processes = [int(word) for _ in range(2) for word in sweep.stdout.readline().split()]
    assert len(set(processes)) == 4
    assert not any(map(gone, processes))
    sweep.kill()
    sweep.wait()
    sweep.stdout.close()
    wait_until(lambda: all(map(gone, processes)))


def test_files_and_processes_stay_as_many_as_they_were(nested: Callable[..., Pool]) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = count()
    pool = nested(lambda send: 0)
    carried_out(pool, 1)
    between = count()
    carried_out(pool, *[1] * 40)
    assert count() == between
    pool.kill()
    assert count() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
