"""What a sweep would be and cost, before anything of it starts."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from steelyard.cli import main
from steelyard.planning import PlanReport
from steelyard.problem import refuse
from steelyard.sweeping.planned import SweepPlan

SMALL = ("data.limit=96", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false")


def report(*, steps: int | None = 10, spends: Mapping[str, float] | None = None, data: str = "digits") -> PlanReport:
    return PlanReport(
        spec="s",
        choices={"data": data},
        plugins=(),
        parameters=1000,
        trainable=1000,
        flops_per_step=100,
        steps=steps,
        notes=("mind the gap",),
        checkpoint_bytes=12_000_000,
        spends=spends or {},
    )


def test_the_trials_fill_the_workers_one_after_the_other() -> None:
    reports = {number: report() for number in range(4)}
    plan = SweepPlan(trials=4, workers=2, labels={}, reports=reports, seconds={0: 60.0, 1: 10.0, 2: 20.0, 3: 40.0})
    # 0 on the first; 1, 2 and 3 on the second.
    assert plan.total_seconds == 70.0
    assert "time  about 1 min 10 s" in plan.text()


def test_what_is_not_known_is_not_guessed() -> None:
    plan = SweepPlan(trials=2, workers=1, labels={}, reports={0: report(), 1: report(steps=None)}, seconds={0: 1.0})
    assert plan.total_seconds is None
    text = plan.text()
    assert "time  unknown" in text
    assert "FLOPs in total  unknown" in text
    assert "24.0 MB of checkpoints; the reports: unknown" in text


def test_what_is_spent_adds_up_on_the_same_data_alone() -> None:
    reports = {
        0: report(spends={"epsilon": 1.0}),
        1: report(spends={"epsilon": 2.5}),
        2: report(),
        3: report(spends={"epsilon": 8.0}, data="breast_cancer"),
    }
    plan = SweepPlan(trials=4, workers=1, labels={}, reports=reports)
    assert plan.spent == {("epsilon", "digits"): 3.5, ("epsilon", "breast_cancer"): 8.0}
    assert "epsilon in total  3.5 if all 2 results are published (on digits" in plan.text()
    assert plan.text().count("mind the gap") == 1


def test_refused_and_equal_trials_are_named() -> None:
    plan = SweepPlan(
        trials=3,
        workers=1,
        labels={0: "seed=0", 1: "seed=-1", 2: "seed=0"},
        reports={0: report()},
        refused={1: refuse("no", fix="x=1")},
        same={2: 0},
    )
    lines = plan.text().splitlines()
    assert lines[1] == "trial 1  refused  seed=-1"
    assert lines[2] == "trial 2  the same as trial 0: it runs once  seed=0"
    assert "1 distinct of 3 trials" in plan.text()


def test_a_probe_tells_time_and_disk_and_leaves_nothing(
    nothing: tuple[str, ...], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "-m", *nothing, *SMALL, "trainer.max_epochs=30", "seed=0,1", "sweep.probe=true"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "2 distinct of 2 trials" in out
    assert "time  about" in out
    assert "MB of reports" in out
    assert not list(workdir.iterdir())


def test_a_trial_that_would_be_refused_refuses_the_plan(
    nothing: tuple[str, ...], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "-m", *nothing, *SMALL, "model.hidden=[8],[0]", "require.nonsense=3,4"]) == 2
    assert "refused" in capsys.readouterr().out
