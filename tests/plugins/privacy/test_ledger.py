"""The ledger: adds up over runs, is written before a step is taken, and shows when somebody has changed it."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from private_runs import Examples, Fitted, Task, data, fit
from steelyard.measurement import Measurement, Status
from steelyard.problem import Refused
from steelyard_privacy._accounting import together
from steelyard_privacy._ledger import LONGEST, NAME, Tampered, Writer, beside_outputs, parts, read
from steelyard_privacy._pld import Part
from steelyard_privacy._spending import fingerprint, summed_up
from steelyard_privacy.dp_sgd import DPSGD

OPTIONS: dict[str, Any] = {"data": "a", "rate": 0.25, "noise_multiplier": 1.5}


def written(path: Path, *, steps: int, **options: Any) -> None:
    writer = Writer(path, **{**OPTIONS, "stride": 5, **options})
    for _ in range(steps):
        writer.step()
    writer.close()


def test_steps_are_on_the_disk_before_they_are_taken(tmp_path: Path) -> None:
    writer = Writer(tmp_path / NAME, **OPTIONS, stride=3)
    assert not (tmp_path / NAME).exists()
    for taken in range(1, 9):
        writer.step()
        assert sum(leg.steps for leg in read(tmp_path / NAME)) == -(-taken // 3) * 3
    writer.close()
    writer.close()
    (leg,) = read(tmp_path / NAME)
    assert (leg.steps, leg.ended) == (8, True)


def test_legs_on_the_same_data_add_up(tmp_path: Path) -> None:
    path = tmp_path / "deep" / NAME
    written(path, steps=4)
    written(path, steps=7)
    written(path, steps=2, noise_multiplier=3.0)
    written(path, steps=9, data="b")
    written(path, steps=0)
    assert parts(read(path), data="a") == (
        Part(rate=0.25, noise_multiplier=1.5, steps=11),
        Part(rate=0.25, noise_multiplier=3.0, steps=2),
    )
    assert parts(read(path), data="c") == ()
    assert together((), delta=1e-5) == 0.0


@pytest.mark.parametrize("change", ["edit", "drop", "swap", "insert", "garbage"])
def test_what_was_changed_is_found(tmp_path: Path, change: str) -> None:
    path = tmp_path / NAME
    for steps in (4, 7, 2):
        written(path, steps=steps)
    lines = path.read_text().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace('"steps": 4', '"steps": 1')
    elif change == "drop":
        del lines[2]
    elif change == "swap":
        lines[0], lines[1] = lines[1], lines[0]
    elif change == "insert":
        lines.insert(1, lines[0])
    else:
        lines[1] = "[]\n"
    path.write_text("".join(lines))
    with pytest.raises(Tampered, match="line"):
        read(path)
    with pytest.raises(Refused, match="cannot be trusted"):
        fit(DPSGD(ledger=path), Task(), data(32))


def test_a_line_that_was_torn_by_a_crash_was_never_written(tmp_path: Path) -> None:
    path = tmp_path / NAME
    written(path, steps=4)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"leg": "half')
    assert sum(leg.steps for leg in read(path)) == 4
    written(path, steps=3)
    assert path.read_bytes().startswith(whole)
    assert sum(leg.steps for leg in read(path)) == 7
    assert max(map(len, path.read_bytes().split(b"\n"))) < LONGEST / 4


def many(path: Path) -> None:
    for _ in range(20):
        written(path, steps=2, stride=1)


def test_processes_write_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / NAME
    workers = [multiprocessing.get_context("fork").Process(target=many, args=(path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(leg.steps for leg in read(path)) == 3 * 20 * 2


def test_it_lies_beside_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert beside_outputs(Path("outputs/run")) == tmp_path / "outputs" / NAME
    assert beside_outputs(Path("outputs/sweep/3")) == tmp_path / "outputs" / NAME
    assert beside_outputs(tmp_path) == tmp_path / "outputs" / NAME
    assert beside_outputs(tmp_path / "elsewhere" / "run") == tmp_path / "elsewhere" / NAME


def total(fitted: Fitted) -> Measurement:
    ledger = fitted.attachment._ledger
    assert ledger is not None
    return summed_up(ledger, delta=fitted.attachment._account.delta)


def test_runs_on_the_same_data_add_up(tmp_path: Path) -> None:
    plugin = DPSGD(noise_multiplier=2.0, target_epsilon=None, ledger=tmp_path / NAME)
    first, second = (fit(plugin, Task(), data(32)) for _ in range(2))
    other = fit(plugin, Task(), data(48))
    account = first.attachment._account
    assert total(second).value == pytest.approx(account.mechanism.epsilon(steps=2 * account.steps), rel=1e-6)
    assert total(second).count == 2
    assert total(other).count == 1
    assert total(other).value == pytest.approx(other.attachment._account.epsilon, rel=1e-6)


class Ends(Callback):
    """Ends the training after three steps: by an error, or by kill -9."""

    def __init__(self, *, killed: bool) -> None:
        self.killed = killed

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("lights out")


def broken(path: Path, killed: bool) -> None:
    torch.set_num_threads(1)
    plugin = DPSGD(noise_multiplier=2.0, target_epsilon=None, ledger=path)
    fit(plugin, Task(), data(64, batch_size=4), max_epochs=20, callbacks=(Ends(killed=killed),))


def test_the_steps_of_a_training_that_broke_off_are_counted(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="lights out"):
        broken(tmp_path / NAME, False)
    (leg,) = read(tmp_path / NAME)
    assert (leg.steps, leg.ended) == (3, True)


def test_the_steps_of_a_killed_training_are_counted(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=broken, args=(tmp_path / NAME, True))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (leg,) = read(tmp_path / NAME)
    # 320 steps were planned; a twentieth is written down at once.
    assert (leg.steps, leg.ended) == (16, False)


def test_a_ledger_that_was_changed_on_the_way_is_not_added_up(tmp_path: Path) -> None:
    fitted = fit(DPSGD(ledger=tmp_path / NAME), Task(), data(32))
    line = json.loads((tmp_path / NAME).read_text().splitlines()[0])
    (tmp_path / NAME).write_text(json.dumps({**line, "steps": 0}) + "\n")
    found = total(fitted)
    assert found.status is Status.SKIPPED
    assert "cannot be trusted" in found.note


def test_the_data_is_known_by_its_examples() -> None:
    assert fingerprint(data(32)) == fingerprint(data(32, batch_size=8))
    assert fingerprint(data(32)) != fingerprint(data(33))

    class Named(Examples):
        def fingerprint(self) -> str:
            return "mine"

    assert fingerprint(Named(data(32).make_loader)) == "mine"
