"""A run that is interrupted, terminated or killed says so, and goes on."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from helpers.forked import Forked
from steelyard import experiment, folder, stopping
from steelyard.checkpoints import AtomicCheckpointIO
from steelyard.cli import main
from steelyard.folder import State
from steelyard.problem import Refused

EPOCHS = 12
WORDS = [
    "run",
    "compute=none",
    "privacy=none",
    "interpretability=none",
    "stability=none",
    "data.limit=96",
    "checkpoints=last",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    f"trainer.max_epochs={EPOCHS}",
]


def slowly() -> int:
    """The run, with time to be met after each checkpoint."""
    write = AtomicCheckpointIO.save_checkpoint

    def written(*given: Any, **named: Any) -> None:
        write(*given, **named)
        time.sleep(1)

    AtomicCheckpointIO.save_checkpoint = written
    return main(WORDS)


@pytest.fixture
def started(workdir: Path) -> Forked:
    """A run that has written its first checkpoint."""
    process = Forked(slowly)
    process.await_(lambda: bool(list(workdir.glob("outputs/*/checkpoints/last.ckpt"))))
    return process


@pytest.mark.parametrize(
    ("number", "code", "state"),
    [
        (signal.SIGINT, 130, State.INTERRUPTED),
        pytest.param(signal.SIGTERM, 143, State.TERMINATED, marks=pytest.mark.slow),
        (signal.SIGKILL, -9, State.KILLED),
    ],
)
def test_the_folder_stays_readable_and_resume_goes_on(
    started: Forked, workdir: Path, number: signal.Signals, code: int, state: State
) -> None:
    started.send_signal(number)
    err = started.end()
    assert started.returncode == code, err
    (place,) = (workdir / "outputs").iterdir()
    found = folder.status(place)
    assert found.state is state
    if state is not State.KILLED:
        assert "steelyard resume" in found.message
        assert f"steelyard resume {place.relative_to(workdir)}" in err
    assert not (place / "scorecard.json").exists()
    # Everything that was written is whole.
    json.loads((place / "provenance.json").read_text())
    kept = torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < kept["epoch"] + 1 < EPOCHS

    card = experiment.resume(place)
    assert card.exit_code == 0
    after = folder.status(place)
    assert (after.state, after.resumed) == (State.DONE, 1)
    finished = torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)
    assert finished["epoch"] + 1 == EPOCHS
    assert finished["global_step"] == EPOCHS * 2
    assert (place / "report.html").exists()
    with pytest.raises(Refused, match="nothing to resume"):
        experiment.resume(place)


def test_what_is_no_run_folder_cannot_be_resumed(workdir: Path) -> None:
    with pytest.raises(Refused, match="cannot be resumed"):
        experiment.resume(workdir)


@pytest.mark.parametrize(
    ("number", "ends", "state"),
    [
        (signal.SIGTERM, stopping.Terminated, State.TERMINATED),
        (signal.SIGINT, KeyboardInterrupt, State.INTERRUPTED),
    ],
)
def test_a_signal_that_compiled_code_hides_still_ends_the_run_as_it_says(
    number: signal.Signals,
    ends: type[BaseException],
    state: State,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def hidden(*_: object) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(1)
        except BaseException as error:
            raise RuntimeError("unexpected pos") from error

    monkeypatch.setattr(experiment, "_steps", hidden)
    # A process in the background of a shell has Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(ends):
            tiny.run(monkeypatch, tmp_path, folder_name="run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert folder.status(tmp_path / "run").state is state
