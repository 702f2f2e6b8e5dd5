"""The sweep that shows what privacy costs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steelyard import folder
from steelyard.composing import expand
from steelyard.folder import State
from steelyard.sweeping.record import hashes

WORDS = ("experiment=tradeoff", "privacy=none,dp_sgd", "privacy.dp_sgd.target_epsilon=1,3,8", "seed=0,1,2")


def test_an_epsilon_without_dp_sgd_makes_no_trial_of_its_own(tmp_path: Path) -> None:
    trials = expand(*WORDS, place=tmp_path)
    assert all(trial.composed for trial in trials)
    assert (len(trials), len(set(hashes(trials).values()))) == (18, 12)


@pytest.mark.slow
def test_it_is_killed_and_resumed_on_the_way_to_its_page(workdir: Path) -> None:
    command = [sys.executable, "-m", "steelyard"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    sweep = subprocess.Popen([*command, "run", "-m", *WORDS], env=environment)
    deadline, done = time.monotonic() + 300, list[Path]()
    while len(done) < 2:
        assert sweep.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
        found = (path.parent for path in workdir.glob("outputs/*/*/" + folder.STATUS))
        done = [place for place in found if folder.status(place).state is State.DONE]
    sweep.send_signal(signal.SIGKILL)
    assert sweep.wait() == -9
    before = {place: (place / "scorecard.json").stat().st_mtime_ns for place in done}
    place = done[0].parent
    resumed = subprocess.run([*command, "resume", str(place)], env=environment, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert len(list(place.glob("*/scorecard.json"))) == 12
    assert {one: (one / "scorecard.json").stat().st_mtime_ns for one in done} == before
    page = (place / "sweep.html").read_text()
    for words in ("Accuracy against step seconds", "Accuracy against epsilon", "Accuracy against worst flips"):
        assert words in page
    assert "the noise floor of seeds" in page
