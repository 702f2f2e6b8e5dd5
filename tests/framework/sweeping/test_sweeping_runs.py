"""A sweep of forked trials, from the command line to the table; and taking it up again."""

import csv
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from helpers.forked import Forked
from helpers.stand_in import stand_in
from steelyard import experiment, folder
from steelyard.cli import main
from steelyard.folder import State

Words = tuple[str, ...]
Install = Callable[[Callable[[int], None]], None]


def only_sweep() -> Path:
    (place,) = Path("outputs").iterdir()
    return place


def rows(place: Path) -> dict[str, dict[str, str]]:
    with (place / "sweep.csv").open() as file:
        return {row["trial"]: row for row in csv.DictReader(file)}


def nothing_happens(seed: int) -> None:
    del seed


def odd_ones_fail(seed: int) -> None:
    if seed % 2:
        raise ValueError(f"{seed} is odd")


def test_every_trial_has_its_row_and_equal_specs_run_once(
    nothing: Words, trials: Install, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials(odd_ones_fail)
    assert main(["run", "-m", *nothing, "seed=0,1,0,2"]) == 3
    assert sorted(calls.read_text().split()) == ["0", "1", "2"]
    found = rows(only_sweep())
    assert {name: row["state"] for name, row in found.items()} == {"0": "done", "1": "failed", "3": "done"}
    assert found["1"]["reason"] == "ValueError: 1 is odd"
    err = capsys.readouterr().err
    assert "trial 2 has the same spec as trial 0" in err
    assert "trial 1 failed: ValueError: 1 is odd" in err
    assert "3 of 3: " in err


def test_in_one_process_the_trials_are_the_same(nothing: Words, trials: Install, calls: Path) -> None:
    trials(nothing_happens)
    for launcher in ("basic", "steelyard"):
        assert main(["run", "-m", *nothing, f"hydra/launcher={launcher}", "seed=2,1"]) == 0
    assert sorted(calls.read_text().split()) == ["1", "1", "2", "2"]
    first, second = (rows(place) for place in sorted(Path("outputs").iterdir()))
    assert first == second


def test_what_a_trial_prints_is_kept_beside_it(nothing: Words, trials: Install) -> None:
    trials(lambda seed: print("hello") if seed else None)
    assert main(["run", "-m", *nothing, "seed=0,1"]) == 0
    place = only_sweep()
    assert (place / "1" / "output.txt").read_text() == "hello\n"
    assert not (place / "0" / "output.txt").exists()
    assert not list(place.glob(".*.out"))


def test_refused_trials_have_their_row(nothing: Words, trials: Install, calls: Path) -> None:
    trials(nothing_happens)
    assert main(["run", "-m", *nothing, "seed=-1,0,1"]) == 2
    assert sorted(calls.read_text().split()) == ["0", "1"]
    assert rows(only_sweep())["0"]["state"] == "refused"


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda seed: os._exit(9), "left early with exit code 9"),
        (lambda seed: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL (out of memory?)"),
    ],
)
def test_a_trial_that_dies_without_a_word(
    nothing: Words, trials: Install, act: Callable[[int], None], reason: str
) -> None:
    trials(lambda seed: act(seed) if seed else None)
    assert main(["run", "-m", *nothing, "seed=0,1"]) == 3
    found = rows(only_sweep())
    assert (found["0"]["state"], found["1"]["state"]) == ("done", "failed")
    assert found["1"]["reason"] == reason


def test_max_failures(nothing: Words, trials: Install, calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials(odd_ones_fail)
    assert main(["run", "-m", *nothing, "seed=0,1,2,3,4,5", "sweep.workers=1", "sweep.max_failures=2"]) == 3
    assert calls.read_text().split() == ["0", "1", "2", "3"]
    assert "trials that were not started: 2; go on with: steelyard resume" in capsys.readouterr().err


def test_trial_seconds(nothing: Words, trials: Install) -> None:
    trials(lambda seed: time.sleep(60 * seed))
    assert main(["run", "-m", *nothing, "seed=0,1", "sweep.trial_seconds=0.5"]) == 3
    assert rows(only_sweep())["1"]["reason"] == "took longer than sweep.trial_seconds=0.5"


@pytest.mark.parametrize(
    ("word", "fix"),
    [
        ("sweep.workers=0", "sweep.workers=1"),
        ("sweep.rerun=sometimes", "sweep.rerun=failed"),
        ("sweep.trial_seconds=-1", "sweep.trial_seconds"),
    ],
)
def test_wrong_settings(
    nothing: Words, trials: Install, calls: Path, capsys: pytest.CaptureFixture[str], word: str, fix: str
) -> None:
    trials(nothing_happens)
    assert main(["run", "-m", *nothing, "seed=0,1", word]) == 2
    assert fix in capsys.readouterr().err
    assert not calls.exists()


def test_settings_of_the_sweep_are_no_part_of_a_trial(nothing: Words, trials: Install) -> None:
    from steelyard.composing import compose
    from steelyard.spec import spec_hash

    two, one = (compose(*nothing, f"sweep.workers={number}") for number in (2, 1))
    assert "sweep" not in one.config
    assert one.sweep.workers == 1
    assert spec_hash(one.config) == spec_hash(two.config)


def test_sweeps_of_the_same_second_do_not_meet(
    nothing: Words, trials: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        @staticmethod
        def now() -> datetime:
            return datetime(2030, 1, 1)

    monkeypatch.setattr("steelyard.cli._jobs.datetime", Clock)
    trials(nothing_happens)
    for _ in range(2):
        assert main(["run", "-m", *nothing, "seed=0,1"]) == 0
    first, second = sorted(Path("outputs").iterdir())
    assert second.name == f"{first.name}-2"
    assert len(rows(first)) == len(rows(second)) == 2


def test_resume_runs_what_failed_and_nothing_else(
    nothing: Words, trials: Install, calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials(odd_ones_fail)
    assert main(["run", "-m", *nothing, "seed=0,1,2,3"]) == 3
    place = only_sweep()
    before = (place / "0" / "scorecard.json").stat().st_mtime_ns
    calls.unlink()
    trials(nothing_happens)
    assert main(["resume", str(place)]) == 0
    assert sorted(calls.read_text().split()) == ["1", "3"]
    assert "2 of 4 trials are finished already" in capsys.readouterr().err
    assert (place / "0" / "scorecard.json").stat().st_mtime_ns == before
    assert [row["state"] for row in rows(place).values()] == ["done"] * 4
    # What the failed trials left behind is kept, and is no run of the sweep.
    assert folder.status(place / ".earlier" / "1").message == "ValueError: 1 is odd"
    calls.unlink()
    assert main(["resume", str(place)]) == 0
    assert not calls.exists()
    assert main(["resume", str(place), "sweep.rerun=all", "sweep.workers=1"]) == 0
    assert calls.read_text().split() == ["0", "1", "2", "3"]


def test_a_trial_whose_preset_has_changed_runs_again(nothing: Words, trials: Install, calls: Path) -> None:
    own = Path("own/vars")
    own.mkdir(parents=True)
    (own / "size.yaml").write_text("# @package _global_\nvars: {size: 1}\n")
    trials(nothing_happens)
    assert main(["run", "-m", "--config-dir", "own", *nothing, "+vars=size", "seed=0,1"]) == 0
    calls.unlink()
    (own / "size.yaml").write_text("# @package _global_\nvars: {size: 2}\n")
    assert main(["resume", str(only_sweep())]) == 0
    assert sorted(calls.read_text().split()) == ["0", "1"]


def test_rerun_changed_looks_at_the_users_own_code(
    nothing: Words, trials: Install, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path.cwd())
    mine = Path("my_own_model.py")
    mine.write_text("SIZE = 1\n")
    trials(lambda seed: __import__("my_own_model") and None if seed else None)
    assert main(["run", "-m", *nothing, "seed=0,1"]) == 0
    place = only_sweep()
    assert "my_own_model" not in sys.modules
    calls.unlink()
    for words in (["sweep.rerun=changed"], []):
        assert main(["resume", str(place), *words]) == 0
        assert not calls.exists()
    mine.write_text("SIZE = 2\n")
    assert main(["resume", str(place)]) == 0
    assert not calls.exists()
    assert main(["resume", str(place), "sweep.rerun=changed"]) == 0
    assert calls.read_text().split() == ["1"]


def test_what_resume_of_a_sweep_refuses(nothing: Words, trials: Install, capsys: pytest.CaptureFixture[str]) -> None:
    trials(nothing_happens)
    assert main(["run", "-m", *nothing, "seed=0", "+vars.api_key=xyz"]) == 0
    place = only_sweep()
    assert "xyz" not in (place / "sweep.json").read_text()
    assert main(["resume", str(place)]) == 2
    assert "vars.api_key" in capsys.readouterr().err
    assert main(["resume", str(place), "seed=3"]) == 2
    assert "would change the trials" in capsys.readouterr().err
    (place / "sweep.json").write_text("{")
    assert main(["resume", str(place)]) == 2
    assert "cannot be resumed" in capsys.readouterr().err


def test_status_of_a_sweep(nothing: Words, trials: Install, capsys: pytest.CaptureFixture[str]) -> None:
    trials(odd_ones_fail)
    main(["run", "-m", *nothing, "seed=0,1,2,0"])
    capsys.readouterr()
    assert main(["status", str(only_sweep())]) == 0
    assert capsys.readouterr().out == "3 trials: 2 done, 1 failed\n"


@pytest.fixture
def started(workdir: Path, nothing: Words, calls: Path) -> Forked:
    """A sweep of five trials on two workers whose first two are done and whose next two will not end by themselves."""

    def sweep() -> int:
        experiment.run = stand_in(calls, lambda seed: time.sleep(60 if seed >= 2 else 0))
        return main(["run", "-m", *nothing, "seed=0,1,2,3,4", "sweep.workers=2"])

    process = Forked(sweep)
    process.await_(lambda: calls.exists() and len(calls.read_text().split()) >= 4)
    return process


@pytest.mark.parametrize(
    ("number", "code", "state"),
    [
        (signal.SIGINT, 130, State.INTERRUPTED),
        pytest.param(signal.SIGTERM, 143, State.TERMINATED, marks=pytest.mark.slow),
        (signal.SIGKILL, -9, State.KILLED),
    ],
)
def test_a_sweep_that_is_stopped_loses_no_finished_trial(
    started: Forked,
    workdir: Path,
    trials: Install,
    calls: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
    state: State,
) -> None:
    place = only_sweep()
    while not all((place / name / folder.STATUS).exists() for name in ("2", "3")):
        time.sleep(0.02)
    # Two processes do not work on one sweep.
    assert main(["resume", str(place)]) == 2
    assert "another process is at work" in capsys.readouterr().err
    begun = time.monotonic()
    started.send_signal(number)
    err = started.end()
    assert started.returncode == code, err
    assert time.monotonic() - begun < 30
    deadline = time.monotonic() + 10
    while any(folder.status(place / name).state is State.RUNNING for name in "23"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [folder.status(place / name).state for name in "0123"] == [State.DONE, State.DONE, state, state]
    if state is not State.KILLED:
        assert "trials that were not started: 1; go on with: steelyard resume" in err
        assert (place / "sweep.csv").exists()

    calls.unlink()
    trials(nothing_happens)
    assert main(["resume", str(place)]) == 0
    assert sorted(calls.read_text().split()) == ["2", "3", "4"]
    assert [row["state"] for row in rows(place).values()] == ["done"] * 5


def test_forked_trials_come_to_the_numbers_of_trials_in_one_process(nothing: Words, workdir: Path) -> None:
    small = ("data.limit=96", "trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false")
    tables = []
    for launcher in ("basic", "steelyard"):
        assert (
            main(["run", "-m", *nothing, *small, f"hydra/launcher={launcher}", "seed=0,1", "optimizer.lr=0.1,0.01"])
            == 0
        )
        place = only_sweep()
        tables.append((place / "sweep.csv").read_text())
        place.rename(workdir / launcher)
    assert tables[0] == tables[1]
    assert len({line.split(",")[-1] for line in tables[0].splitlines()}) == 5
