"""What a sweep shows while it runs."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from steelyard.sweeping import view
from steelyard.sweeping.progress import Progressed
from steelyard.sweeping.view import View, labels

LABELS = labels({0: ["a=1", "seed=0"], 1: ["a=1", "seed=1"], 2: ["a=1", "seed=2"], 3: ["a=1", "seed=3"]})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=100.0)
    monkeypatch.setattr(view, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def run(shown: View, clock: SimpleNamespace) -> None:
    """Two at a time: the first takes 10 s, the second fails after 6 s, two more are under way at 112 s."""
    shown.begin(4, workers=2, done=0)
    shown.started(0)
    shown.started(1)
    clock.now += 6
    shown.ended(1, code=3, seconds=6.0, message="ValueError: unlucky\nand more")
    shown.started(2)
    clock.now += 4
    shown.ended(0, code=0, seconds=10.0, message="")
    shown.started(3)
    clock.now += 2
    shown.progressed(2, Progressed(doing="epoch 3 of 4", share=0.5))


def test_a_terminal_has_every_running_trial_its_progress_and_the_time_left(clock: SimpleNamespace) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with View(LABELS, console) as shown:
        run(shown, clock)
        picture = Console(file=io.StringIO(), width=120)
        picture.print(shown.picture())
        lines = picture.file.getvalue().splitlines()
    assert lines[0].split("  ")[0] == "━" * 10 + "╌" * 10 + " 2 of 4"
    # A trial takes 8 s on average: 2 of them are left of the one and 6 of the other, which two share.
    assert lines[0].endswith("1 done, 1 failed  12.0 s so far, 4.0 s left")
    assert lines[1].split() == ["2", "━" * 10 + "╌" * 10, "6.0", "s", "epoch", "3", "of", "4", "seed=2"]
    assert lines[2].split() == ["3", "2.0", "s", "starting", "seed=3"]
    assert lines[3] == "trial 1 failed: ValueError: unlucky"
    # What failed stays when the table is gone.
    assert "trial 1 failed: ValueError: unlucky" in out.getvalue().rpartition("starting")[2]


def test_elsewhere_each_end_is_a_line(clock: SimpleNamespace) -> None:
    out = io.StringIO()
    with View(LABELS, Console(file=out, width=40)) as shown:
        run(shown, clock)
    assert out.getvalue().splitlines() == [
        "steelyard: 4 trials, 2 at a time",
        "steelyard: trial 1 failed: ValueError: unlucky",
        "steelyard: 2 of 4: trial 0 done in 10.0 s, 6.0 s left  seed=0",
    ]
