"""Trials in processes of their own: none touches another, none outlives the sweep."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.forked import say_much
from steelyard.sweeping import pool as pools
from steelyard.sweeping import supply
from steelyard.sweeping.forked import Send
from steelyard.sweeping.pool import Ended, Pool, Told, share


def drain(pool: Pool) -> list[Told | Ended]:
    events: list[Told | Ended] = []
    deadline = time.monotonic() + 30
    while pool.busy:
        assert time.monotonic() < deadline
        events += pool.poll(1.0)
    return events


def one(work: Callable[[Send], int], **given: float) -> list[Told | Ended]:
    pool = Pool(workers=1, threads=1, **given)
    pool.start(0, work)
    return drain(pool)


def raising(error: BaseException) -> Callable[[Send], int]:
    def work(send: Send) -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda send: 0, 0),
        (lambda send: 2, 2),
        (raising(ValueError("no")), 3),
        (raising(SystemExit(7)), 7),
        (raising(KeyboardInterrupt()), 130),
    ],
)
def test_exit_codes(work: Callable[[Send], int], code: int) -> None:
    (ended,) = one(work)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.signal, ended.overdue) == (code, None, False)


def test_a_crash_names_its_signal() -> None:
    (ended,) = one(lambda send: os.kill(os.getpid(), signal.SIGUSR2) or 0)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.signal) == (None, signal.SIGUSR2)


def test_an_end_is_seen_where_the_system_has_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "end_of", lambda pid: None)
    (ended,) = one(lambda send: 2)
    assert isinstance(ended, Ended)
    assert ended.code == 2


def test_words_arrive_in_order_and_before_the_end() -> None:
    *told, ended = one(say_much)
    assert [event.what["number"] for event in told if isinstance(event, Told)] == list(range(500))
    assert isinstance(ended, Ended)


def test_no_more_trials_run_at_once_than_there_are_workers(tmp_path: Path) -> None:
    def work(send: Send) -> int:
        send(time.monotonic())
        time.sleep(0.05)
        send(time.monotonic())
        return 0

    pool, spans, left = Pool(workers=2, threads=1), {}, list(range(6))
    while left or pool.busy:
        while left and pool.free:
            pool.start(left.pop(), work)
        for event in pool.poll(1.0):
            if isinstance(event, Told):
                spans.setdefault(event.number, []).append(event.what)
    beside = [
        sum(low < at < high for low, high in spans.values()) for low, high in spans.values() for at in (low, high)
    ]
    assert max(beside) <= 1


def test_a_trial_that_takes_too_long_gets_its_last_words(tmp_path: Path) -> None:
    def work(send: Send) -> int:
        try:
            time.sleep(60)
        finally:
            (tmp_path / "words").write_text("bye")
        return 0

    started = time.monotonic()
    (ended,) = one(work, seconds=0.2)
    assert isinstance(ended, Ended)
    assert ended.overdue
    assert time.monotonic() - started < 20
    assert (tmp_path / "words").read_text() == "bye"


def test_a_trial_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "GRACE", 0.2)

    def work(send: Send) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
        return 0

    (ended,) = one(work, seconds=0.1)
    assert isinstance(ended, Ended)
    assert ended.overdue
    assert ended.signal == signal.SIGKILL


def gone(pid: int) -> bool:
    """True if the process has ended, also if nobody has taken note of that yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_a_trial_leaves_behind_is_ended_with_it() -> None:
    def work(send: Send) -> int:
        send(subprocess.Popen(["sleep", "60"]).pid)
        return 0

    told, ended = one(work)
    assert isinstance(told, Told)
    assert isinstance(ended, Ended)
    deadline = time.monotonic() + 10
    while not gone(told.what):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_sweep_that_is_killed_takes_its_trials_along(tmp_path: Path) -> None:
    code = """
import time
from steelyard.sweeping.pool import Pool, Told
def work(send):
    import os
    send(os.getpid())
    time.sleep(60)
    return 0
pool = Pool(workers=2, threads=1)
pool.start(0, work)
pool.start(1, work)
while True:
    for event in pool.poll(1.0):
        print(event.what, flush=True)
"""
    sweep = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert sweep.stdout is not None
    trials = [int(sweep.stdout.readline()) for _ in range(2)]
    assert not any(gone(pid) for pid in trials)
    sweep.kill()
    sweep.wait()
    sweep.stdout.close()
    deadline = time.monotonic() + 10
    while not all(gone(pid) for pid in trials):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_trial_changes_nothing_of_the_sweep_or_of_the_next_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shared = {"lr": 0.1}
    torch.manual_seed(0)

    def look() -> tuple[object, ...]:
        return (
            os.getcwd(),  # noqa: PTH109
            os.environ.get("SPOILED"),
            torch.get_default_dtype(),
            dict(shared),
            "spoiled" in sys.modules,
            torch.are_deterministic_algorithms_enabled(),
            signal.getsignal(signal.SIGUSR1),
        )

    def spoil(send: Send) -> int:
        os.chdir("/")
        os.environ["SPOILED"] = "1"
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        shared["lr"] = 9.0
        sys.modules["spoiled"] = sys
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return 0

    def work(send: Send) -> int:
        send(look())
        return 0

    before, state = look(), torch.get_rng_state()
    one(spoil)
    told, _ = one(work)
    assert isinstance(told, Told)
    assert told.what == before == look()
    assert torch.equal(torch.get_rng_state(), state)


def test_unseeded_trials_draw_different_numbers() -> None:
    def work(send: Send) -> int:
        send((float(torch.rand(())), float(np.random.rand())))
        return 0

    draws = [event.what for _ in range(3) for event in one(work) if isinstance(event, Told)]
    assert len({torch_draw for torch_draw, _ in draws}) == 3
    assert len({numpy_draw for _, numpy_draw in draws}) == 3


def test_files_and_processes_stay_as_many_as_they_were() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    one(lambda send: 0)
    before = count()
    pool = Pool(workers=2, threads=1)
    for number in range(40):
        while not pool.free:
            list(pool.poll(1.0))
        pool.start(number, lambda send: 0)
    drain(pool)
    assert count() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize(
    ("cores", "told", "workers", "trials", "expected"),
    [
        (8, "", None, 100, (8, 1)),
        (8, "", 2, 100, (2, 4)),
        (8, "", None, 3, (3, 2)),
        (8, "1", 2, 100, (2, 1)),
        (2, "", 5, 100, (5, 1)),
        (1, "", None, 0, (1, 1)),
    ],
)
def test_the_cores_are_shared_out(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    told: str,
    workers: int | None,
    trials: int,
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(pools, "cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert share(workers, trials) == expected


def test_a_trial_has_its_share_of_threads() -> None:
    def work(send: Send) -> int:
        send((torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]))
        return 0

    pool = Pool(workers=1, threads=2)
    pool.start(0, work)
    told, _ = drain(pool)
    assert isinstance(told, Told)
    assert told.what == (2, "2")


def test_devices_are_dealt_out_to_the_workers() -> None:
    def work(send: Send) -> int:
        send(os.environ["CUDA_VISIBLE_DEVICES"])
        time.sleep(0.1)
        return 0

    pool = Pool(workers=2, threads=1, devices=("0", "3"))
    pool.start(0, work)
    pool.start(1, work)
    assert {event.number: event.what for event in drain(pool) if isinstance(event, Told)} == {0: "0", 1: "3"}


@pytest.mark.parametrize(
    ("trainer", "count", "told", "expected"),
    [
        ({"accelerator": "cpu"}, 2, None, ()),
        ({"accelerator": "auto", "devices": 1}, 0, None, ()),
        ({"accelerator": "auto", "devices": 1}, 2, None, ("0", "1")),
        ({"accelerator": "gpu", "devices": 1}, 1, "3", ("3",)),
        ({"accelerator": "gpu", "devices": 2}, 5, None, ("0,1", "2,3")),
    ],
)
def test_which_devices_there_are(
    monkeypatch: pytest.MonkeyPatch, trainer: dict[str, object], count: int, told: str | None, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    trial = SimpleNamespace(composed=SimpleNamespace(config={"trainer": trainer}))
    assert supply.devices_of([trial]) == expected
