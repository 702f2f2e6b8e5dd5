"""`hydra/sweeper=optuna`: trials chosen by the results of those before them."""

import csv
import json
import math
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pytorch_lightning.trainer.states import TrainerFn

from steelyard import experiment, folder, requirements, spec, stopping
from steelyard.cli import main
from steelyard.composing import expand
from steelyard.folder import State
from steelyard.measurement import Better, Measurement, Status
from steelyard.problem import Refused
from steelyard.scorecard import Judgement, Requirement, Scorecard, Section
from steelyard.sweeping._progress import Progress
from steelyard.sweeping._study import Best, Study, distribution, objective, violation
from steelyard.sweeping.settings import Searching
from steelyard.sweeping.space import read_space

Words = tuple[str, ...]
SEARCH = ("hydra/sweeper=optuna", "hydra.sweeper.minimize=[task.loss]")


def card(config: Any, values: dict[str, float | None], choices: Any = None, overrides: Words = ()) -> Scorecard:
    measured = tuple(
        Measurement(name=name, value=value, better=Better.LOWER)
        if value is not None
        else Measurement(name=name, status=Status.SKIPPED, note="no data")
        for name, value in values.items()
    )
    return Scorecard(
        title="t",
        spec="s",
        seed=int(config.seed),
        sections=(Section(key="task", status=Status.MEASURED, measurements=measured),),
        requirements=requirements.judge(spec.plain(config).get("require") or {}, measured),
        choices=dict(choices or {}),
        overrides=overrides,
    )


@pytest.fixture
def install(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., dict[str, float | None]]], Path]:
    """Installs runs that measure what they are told, given their config and what watches them."""
    calls = workdir / "calls.txt"

    def installed(act: Callable[..., dict[str, float | None]]) -> Path:
        def run(config: Any, **given: Any) -> Scorecard:
            place = folder.create(given["outputs"], given["folder_name"])
            given["announce"](place)
            with stopping.terminable(), folder.opened(place) as journal:
                with calls.open("a") as file:
                    file.write(f"{config.optimizer.lr}\n")
                (place / "config.yaml").write_text(f"optimizer: {{lr: {config.optimizer.lr}}}\n")
                try:
                    values = act(config, given["watch"])
                except stopping.Pruned as pruned:
                    journal.end(State.PRUNED, exit_code=0, message=str(pruned))
                    raise
                except KeyboardInterrupt:
                    journal.end(State.INTERRUPTED, exit_code=130)
                    raise
                except Exception as error:
                    journal.end(State.FAILED, exit_code=3, message=str(error))
                    raise
                made = card(config, values, given["choices"], given["overrides"])
                (place / "scorecard.json").write_text(json.dumps(made.to_json()))
                journal.end(State.DONE, exit_code=made.exit_code)
            return made

        monkeypatch.setattr(experiment, "run", run)
        return calls

    return installed


def bowl(config: Any, watch: Any) -> dict[str, float | None]:
    """Best at a rate of 0.01."""
    del watch
    lr = float(config.optimizer.lr)
    return {"task.loss": (math.log10(lr) + 2) ** 2, "task.cost": 1.0 - math.log10(lr)}


def study_of(place: Path) -> optuna.Study:
    return optuna.load_study(study_name=place.name, storage=f"sqlite:///{place / 'optuna.db'}")


def only_sweep() -> Path:
    (place,) = Path("outputs").iterdir()
    return place


LR = "optimizer.lr=tag(log,interval(1e-5,1))"


def test_a_search_says_what_is_best(nothing: Words, install: Any, capsys: pytest.CaptureFixture[str]) -> None:
    calls = install(bowl)
    assert main(["run", "-m", *nothing, *SEARCH, LR, "hydra.sweeper.n_trials=5", "sweep.workers=2"]) == 0
    study = study_of(only_sweep())
    assert [one.state.name for one in study.trials] == ["COMPLETE"] * 5
    assert len(calls.read_text().split()) == 5
    for one in study.trials:
        assert one.value == pytest.approx((math.log10(one.params["optimizer.lr"]) + 2) ** 2)
    err = capsys.readouterr().err
    assert re.search(rf"trial {study.best_trial.number}: task.loss=\S+: steelyard run .*optimizer.lr=\S+\n", err)


def measured(**values: float) -> Scorecard:
    points = tuple(Measurement(name=name, value=value) for name, value in values.items())
    section = Section(key="task", status=Status.MEASURED, measurements=points)
    return Scorecard(title="t", spec="s", seed=0, sections=(section,))


def test_a_search_closes_in_on_what_is_best(tmp_path: Path) -> None:
    study = Study(Searching(minimize=("loss",)), read_space([LR]), tmp_path)
    off: list[float] = []
    for _ in range(40):
        number, (rate,) = study.ask()
        off.append(abs(math.log10(float(rate)) + 2))
        study.measured(number, measured(loss=off[-1] ** 2), spec=rate)
    # Chance is off by (3^2 + 2^2) / 2 / 5 = 1.3 on average, with a deviation of 0.19 for the mean of twenty.
    assert sum(off[-20:]) / 20 < 1.3 / 2


@pytest.mark.slow
def test_one_worker_and_one_seed_give_the_same_trials(nothing: Words, install: Any) -> None:
    install(bowl)
    for seed in (3, 3, 4):
        words = (f"hydra.sweeper.seed={seed}", "hydra.sweeper.n_trials=2", "sweep.workers=1")
        assert main(["run", "-m", *nothing, *SEARCH, LR, *words]) == 0
    same, again, other = ([one.params for one in study_of(place).trials] for place in sorted(Path("outputs").iterdir()))
    assert same == again
    assert same != other


def test_several_objectives_and_requirements(nothing: Words, install: Any, capsys: pytest.CaptureFixture[str]) -> None:
    install(bowl)
    words = ("hydra.sweeper.minimize=[task.loss,task.cost]", "hydra.sweeper.n_trials=5", "require.task.cost.max=3")
    assert main(["run", "-m", *nothing, "hydra/sweeper=optuna", LR, *words]) == 1
    study = study_of(only_sweep())
    assert all(len(one.values) == 2 for one in study.trials)
    for one in study.trials:
        assert one.constraints["task.cost.max"] == pytest.approx(one.values[1] - 3)
    assert study.best_trials
    assert all(one.values[1] <= 3 for one in study.best_trials)
    assert "task.cost=" in capsys.readouterr().err


def test_what_failed_is_told_as_failed_and_tried_again_by_resume(nothing: Words, install: Any) -> None:
    def act(config: Any, watch: Any) -> dict[str, float | None]:
        if config.optimizer.lr > 0.01:
            raise ValueError("too fast")
        return bowl(config, watch)

    install(act)
    assert main(["run", "-m", *nothing, *SEARCH, LR, "hydra.sweeper.n_trials=5"]) == 3
    place = only_sweep()
    before = study_of(place).trials
    failed = [one for one in before if one.params["optimizer.lr"] > 0.01]
    assert 0 < len(failed) < 5
    assert [one.state.name for one in before] == ["FAIL" if one in failed else "COMPLETE" for one in before]
    assert {one.user_attrs["reason"] for one in failed} == {"too fast"}
    calls = install(bowl)
    calls.unlink()
    assert main(["resume", str(place)]) == 0
    after = study_of(place).trials
    assert [one.params for one in after[5:]] == [one.params for one in failed]
    assert {one.state.name for one in after[5:]} == {"COMPLETE"}
    assert len(calls.read_text().split()) == len(failed)
    calls.unlink()
    assert main(["resume", str(place)]) == 0
    assert not calls.exists()


def test_an_objective_that_nobody_measures_is_no_zero(
    nothing: Words, install: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda config, watch: {"task.loss": None, "task.cost": 1.0})
    assert main(["run", "-m", *nothing, *SEARCH, LR, "hydra.sweeper.n_trials=2"]) == 0
    assert [one.state.name for one in study_of(only_sweep()).trials] == ["FAIL", "FAIL"]
    err = capsys.readouterr().err
    assert "trial 0 tells the search nothing: task.loss is skipped: no data" in err
    assert "no trial measured every objective" in err


def test_equal_specs_run_once_and_are_told_twice(nothing: Words, install: Any) -> None:
    calls = install(bowl)
    assert main(["run", "-m", *nothing, *SEARCH, "optimizer.lr=0.1,0.01", "hydra.sweeper.n_trials=5"]) == 0
    assert sorted(calls.read_text().split()) == ["0.01", "0.1"]
    study = study_of(only_sweep())
    assert [one.value for one in study.trials] == [
        (math.log10(float(one.params["optimizer.lr"])) + 2) ** 2 for one in study.trials
    ]


def test_a_killed_search_goes_on_where_it_was(nothing: Words, install: Any) -> None:
    def act(config: Any, watch: Any) -> dict[str, float | None]:
        if Path("calls.txt").read_text().count("\n") == 3:
            os.kill(os.getppid(), signal.SIGINT)
            signal.pause()
        return bowl(config, watch)

    calls = install(act)
    words = ("hydra.sweeper.n_trials=4", "sweep.workers=1")
    assert main(["run", "-m", *nothing, *SEARCH, LR, *words]) == 130
    place = only_sweep()
    assert [one.state.name for one in study_of(place).trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    install(bowl)
    assert main(["resume", str(place)]) == 0
    found = study_of(place).trials
    assert [one.state.name for one in found] == ["COMPLETE"] * 2 + ["FAIL"] + ["COMPLETE"] * 2
    assert found[3].params == found[2].params
    assert len(calls.read_text().split()) == 3 + 2
    with (place / "sweep.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["done"] * 4


def test_a_trial_that_ended_but_was_not_told_is_not_run_again(nothing: Words, install: Any, tmp_path: Path) -> None:
    calls = install(bowl)
    assert main(["run", "-m", *nothing, *SEARCH, LR, "hydra.sweeper.n_trials=2", "sweep.workers=1"]) == 0
    place = only_sweep()
    done = study_of(place).trials[1]
    # As the storage would be if the sweep had been killed in between.
    storage = optuna.storages.get_storage(f"sqlite:///{place / 'optuna.db'}")
    optuna.delete_study(study_name=place.name, storage=storage)
    study = optuna.create_study(study_name=place.name, storage=storage)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    study.enqueue_trial(done.params)
    study.ask({"optimizer.lr": FloatDistribution(1e-5, 1, log=True)})
    calls.unlink()
    assert main(["resume", str(place)]) == 0
    assert study_of(place).trials[1].value == done.value
    assert not calls.exists()


def test_hopeless_trials_are_given_up(nothing: Words, install: Any) -> None:
    def act(config: Any, watch: Any) -> dict[str, float | None]:
        loss = bowl(config, watch)["task.loss"]
        trainer: Any = SimpleNamespace(sanity_checking=False, state=SimpleNamespace(fn=TrainerFn.FITTING))
        for step in (1, 2):
            trainer.global_step, trainer.callback_metrics = step, {"val_loss": loss}
            watch.on_validation_end(trainer, None)
        return {"task.loss": loss}

    install(act)
    rates = "optimizer.lr=0.01,0.02,0.03,0.9,0.8,0.7"
    words = ("hydra.sweeper.prune=val_loss", "hydra.sweeper.prune_after=1", "hydra.sweeper.n_trials=12")
    assert main(["run", "-m", *nothing, *SEARCH, *words, rates, "sweep.workers=2"]) == 0
    place = only_sweep()
    states = {one.state.name for one in study_of(place).trials}
    assert states == {"COMPLETE", "PRUNED"}
    with (place / "sweep.csv").open() as file:
        pruned = [row for row in csv.DictReader(file) if row["state"] == "pruned"]
    assert pruned
    assert all("was worse than the median" in row["reason"] for row in pruned)


def test_a_metric_that_is_not_logged_is_named() -> None:
    trainer: Any = SimpleNamespace(
        sanity_checking=False, state=SimpleNamespace(fn=TrainerFn.FITTING), callback_metrics={"val_loss": 1}
    )
    with pytest.raises(ValueError, match="prune=loss is not logged in validation, which logs val_loss"):
        Progress(SimpleNamespace(ask=lambda what: False), "loss").on_validation_end(trainer, None)  # type: ignore


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ((), "hydra.sweeper.maximize=[task.accuracy]"),
        (("hydra.sweeper.maximize=[task.x]", "hydra.sweeper.minimize=[task.x]"), "hydra.sweeper.minimize=[]"),
        (("hydra.sweeper.maximize=[a,b]", "hydra.sweeper.prune=val_loss"), "hydra.sweeper.prune=null"),
        (("hydra.sweeper.maximize=[a]", "hydra.sweeper.sampler=tree"), "hydra.sweeper.sampler=tpe"),
        (("hydra.sweeper.maximize=[a]", "hydra/launcher=basic"), "hydra/launcher=steelyard"),
    ],
)
def test_refusals(nothing: Words, install: Any, capsys: pytest.CaptureFixture[str], words: Words, fix: str) -> None:
    calls = install(bowl)
    assert main(["run", "-m", *nothing, "hydra/sweeper=optuna", LR, *words]) == 2
    assert fix in capsys.readouterr().err
    assert not calls.exists()


def test_settings_of_a_plugin_that_only_some_trials_select(nothing: Words, install: Any) -> None:
    install(bowl)
    words = (
        "privacy=none,membership",
        "privacy.membership.examples=int(interval(2,90))",
        "hydra.sweeper.n_trials=3",
    )
    assert main(["run", "-m", *nothing, *SEARCH, *words]) == 0


def test_a_plan_does_not_know_the_trials(nothing: Words, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        expand(*nothing, *SEARCH, LR, place=tmp_path)
    assert caught.value.problems[0].fix == "hydra/sweeper=random"


def test_dimensions_as_optuna_knows_them() -> None:
    words = ["a=interval(0,2)", "b=tag(log,int(interval(1,8)))", "c=range(8,0,-2)", "d=range(0,1,0.25)", "e=x,y"]
    assert [distribution(one) for one in read_space(words).dimensions] == [
        FloatDistribution(0, 2),
        IntDistribution(1, 8, log=True),
        IntDistribution(2, 8, step=2),
        FloatDistribution(0, 0.75, step=0.25),
        CategoricalDistribution(["x", "y"]),
    ]


def test_asked_values_are_among_the_options(tmp_path: Path) -> None:
    space = read_space(["a=range(8,0,-2)", "b=range(0,1,0.25)", "c=x,y", "d=5"])
    study = Study(Searching(minimize=("task.loss",), sampler="random"), space, tmp_path)
    for _ in range(8):
        _, values = study.ask()
        assert [value in one.options for value, one in zip(values, space.dimensions, strict=True)] == [True] * 4


def test_the_worst_point_of_a_curve_counts() -> None:
    points = tuple(Measurement(name="x", value=value, at={"radius": value}) for value in (0.1, 0.3, 0.2))
    scorecard = Scorecard(
        title="t", spec="s", seed=0, sections=(Section(key="task", status=Status.MEASURED, measurements=points),)
    )
    assert (objective(scorecard, "x", higher=True), objective(scorecard, "x", higher=False)) == (0.1, 0.3)
    assert objective(scorecard, "y", higher=True) == "nobody measured y"
    assert objective(measured(accuracy=1.0), "accuracyy", higher=True) == (
        "nobody measured accuracyy; did you mean accuracy?"
    )


@pytest.mark.parametrize(
    ("bound", "held", "expected"), [("max", 5.0, 2.0), ("max", 2.0, -1.0), ("min", 5.0, -2.0), ("max", None, 4.0)]
)
def test_how_much_a_requirement_is_missed_by(bound: str, held: float | None, expected: float) -> None:
    row = Requirement(name="x", bound=bound, limit=3.0, judgement=Judgement.MISSING, held=held)
    assert violation(row) == expected


def test_best_first(tmp_path: Path) -> None:
    study = Study(Searching(maximize=("a",)), read_space(["x=interval(0,1)"]), tmp_path)
    for value in (0.2, 0.9, 0.4):
        study.measured(study.ask()[0], measured(a=value), spec=str(value))
    assert study.best() == [Best(number=1, values=(0.9,))]
    assert study.specs() == {"0.2": 0, "0.9": 1, "0.4": 2}
