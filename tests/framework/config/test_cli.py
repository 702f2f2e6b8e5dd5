"""The surface of the command line, and what its exit codes mean."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steelyard import experiment, folder, planning
from steelyard.cli import _flags, completion, doctor, main, plugins, stored
from steelyard.cli._verbs import VERBS
from steelyard.measurement import Status
from steelyard.problem import Problem, Refused
from steelyard.scorecard import Judgement, Requirement, Scorecard, Section
from steelyard.stopping import Terminated
from steelyard.sweeping import planned

Words = tuple[str, ...]
BASIC = "hydra/launcher=basic"
"""The trials of a sweep run in this process, where the stand-in for a run can count its calls."""


def surface(parser: argparse.ArgumentParser) -> set[str]:
    found: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found |= {f"{name} {word}" for word in surface(below)} | {name}
        else:
            found |= set(action.option_strings) or {str(action.metavar or action.dest)}
    return found - {"-h", "--help"}


def test_the_surface_grows_only_by_a_change_that_someone_reads() -> None:
    parsers = {verb: _flags.parser(verb) for verb in ("run", "weigh", "plan")}
    parsers |= {verb: stored.parser(verb) for verb in ("resume", "report", "compare", "status")}
    # LightningCLI has a parser of its own.
    parsers["lightning"] = argparse.ArgumentParser()
    parsers |= {"plugins": plugins.parser(), "doctor": doctor.parser(), "completion": completion.parser()}
    flags = {"KEY=VALUE", "-m", "--multirun", "-c", "--cfg", "--resolve", "-p", "--package", "-cd", "--config-dir"}
    assert list(parsers) == list(VERBS) or set(parsers) == set(VERBS)
    assert {verb: surface(parser) for verb, parser in parsers.items()} == {
        "run": flags | {"-i", "--info"},
        "weigh": flags | {"-i", "--info"},
        "plan": flags | {"-i", "--info"},
        "lightning": set(),
        "resume": {"DIR", "sweep.KEY=VALUE"},
        "report": {"DIR", "--public"},
        "compare": {"DIR", "--to"},
        "status": {"DIR"},
        "plugins": {
            "list",
            "show",
            "show NAME",
            "new",
            "new NAME",
            "new --folder",
            "check",
            "check MODULE:CLASS",
        },
        "doctor": set(),
        "completion": {"shell", "line"},
    }


def scorecard(**changes: Any) -> Scorecard:
    section = Section(key="task", status=Status.MEASURED)
    return Scorecard(**{"title": "t", "spec": "s", "seed": 0, "sections": (section,), **changes})


UNMET = Requirement(name="task.loss", bound="max", limit=0.0, judgement=Judgement.NOT_MET, held=1.0)
FAILED = Section(key="fairness.parity", status=Status.FAILED, error="Traceback")


class Stub:
    """Stands in for the run itself: does what it is told for each call, and leaves a run folder as a run would."""

    def __init__(self, *outcomes: Scorecard | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[dict[str, Any]] = []

    def __call__(self, config: Any, **given: Any) -> Scorecard:
        self.calls.append({"config": config, **given})
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        place = folder.create(given["outputs"], given["folder_name"] or "run")
        given["announce"](place)
        if isinstance(outcome, BaseException):
            with folder.opened(place) as journal:
                journal.end(folder.State.FAILED, exit_code=3, message=str(outcome))
            raise outcome
        (place / "scorecard.json").write_text(json.dumps(outcome.to_json()))
        with folder.opened(place) as journal:
            journal.end(folder.State.DONE, exit_code=outcome.exit_code)
        return outcome


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> Callable[..., Stub]:
    def install(*outcomes: Scorecard | BaseException) -> Stub:
        made = Stub(*outcomes)
        monkeypatch.setattr(experiment, "run", made)
        monkeypatch.setattr(experiment, "weigh", made)
        return made

    return install


@pytest.mark.parametrize(
    ("outcome", "code", "says"),
    [
        (scorecard(), 0, "report.html"),
        (scorecard(requirements=(UNMET,)), 1, "report.html"),
        (scorecard(sections=(FAILED,)), 3, "report.html"),
        (Refused([Problem("layer1 is BatchNorm2d", "model.norm=group")]), 2, "model.norm=group"),
        (ValueError("the loss is NaN"), 3, "outputs/run/traceback.txt"),
        (KeyboardInterrupt(), 130, "steelyard resume outputs/run"),
        (Terminated(), 143, "steelyard resume outputs/run"),
    ],
)
def test_exit_codes(
    nothing: Words,
    stub: Callable[..., Stub],
    capsys: pytest.CaptureFixture[str],
    outcome: Any,
    code: int,
    says: str,
) -> None:
    stub(outcome)
    assert main(["run", *nothing]) == code
    assert says in capsys.readouterr().err


def test_a_run_gets_the_checked_config(nothing: Words, stub: Callable[..., Stub]) -> None:
    made = stub(scorecard())
    assert main(["run", *nothing, "fairness=parity", "seed=3"]) == 0
    (call,) = made.calls
    assert call["config"].fairness == {"parity": {"threshold": 0.1, "samples": 64, "mode": "mean"}}
    assert call["choices"]["fairness"] == "parity"
    assert call["overrides"] == (*nothing, "fairness=parity", "seed=3")
    assert call["outputs"] == Path("outputs")


def test_a_failed_trial_stops_no_other_and_equal_specs_run_once(
    nothing: Words, stub: Callable[..., Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    made = stub(scorecard(), ValueError("diverged"), scorecard(requirements=(UNMET,)))
    assert main(["run", "-m", *nothing, BASIC, "seed=0,1,0,2"]) == 3
    assert [call["config"].seed for call in made.calls] == [0, 1, 2]
    (place,) = Path("outputs").iterdir()
    assert place.name.endswith("_sweep")
    assert sorted(path.name for path in place.iterdir() if path.is_dir()) == ["0", "1", "3"]
    assert (place / "sweep.csv").read_text().count("\n") == 4
    assert (place / "sweep.html").exists()
    assert "the same spec" in capsys.readouterr().err


def test_a_refused_trial_has_its_row(nothing: Words, stub: Callable[..., Stub]) -> None:
    made = stub(scorecard())
    assert main(["run", "-m", *nothing, BASIC, "fairness=parity", "fairness.parity.samples=0,1"]) == 2
    assert len(made.calls) == 1
    (place,) = Path("outputs").iterdir()
    assert folder.status(place / "0").state is folder.State.REFUSED
    assert "refused" in (place / "sweep.csv").read_text()


def test_an_interrupt_ends_the_sweep(nothing: Words, stub: Callable[..., Stub]) -> None:
    made = stub(scorecard(), KeyboardInterrupt(), scorecard())
    assert main(["run", "-m", *nothing, BASIC, "seed=0,1,2"]) == 130
    assert len(made.calls) == 2
    assert list(Path("outputs").glob("*_sweep/sweep.html"))


def test_a_sweep_that_is_refused_leaves_nothing_behind(nothing: Words, stub: Callable[..., Stub]) -> None:
    stub(scorecard())
    assert main(["run", "-m", *nothing, "model=mlp,mpl"]) == 2
    assert list(Path("outputs").iterdir()) == []


def test_an_experiment_may_ask_for_the_sweep_itself(nothing: Words, stub: Callable[..., Stub]) -> None:
    made = stub(scorecard())
    assert main(["run", *nothing, BASIC, "experiment=fair_or_not"]) == 0
    assert [call["choices"]["fairness"] for call in made.calls] == ["none", "parity"]


@pytest.mark.parametrize("verb", ["weigh", "run"])
def test_a_checkpoint_is_weighed_and_not_trained(verb: str, nothing: Words, stub: Callable[..., Stub]) -> None:
    made = stub(scorecard())
    Path("last.ckpt").write_bytes(b"")
    assert main([verb, "ckpt=last.ckpt", *nothing]) == 0
    assert made.calls[0]["ckpt"] == Path("last.ckpt")
    assert made.calls[0]["overrides"] == nothing


@pytest.mark.parametrize("words", [(), ("ckpt=",), ("ckpt=nowhere.ckpt",), ("ckpt=a", "ckpt=b")])
def test_weigh_needs_one_checkpoint(
    words: Words, nothing: Words, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weigh", *words, *nothing]) == 2
    assert "ckpt=" in capsys.readouterr().err


def test_plan_trains_nothing(
    nothing: Words, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = planning.PlanReport(
        spec="s", choices={}, plugins=(), parameters=5, trainable=5, flops_per_step=3, steps=10, spends={"epsilon": 2.0}
    )
    monkeypatch.setattr(planning, "plan", lambda *_, **__: report)
    monkeypatch.setattr(planned, "plan", lambda *_, **__: report)
    assert main(["plan", *nothing]) == 0
    assert main(["plan", "-m", *nothing, "seed=0,0,1"]) == 0
    written = capsys.readouterr().out
    assert written.count("10 steps") == 2
    assert "trial 1  the same as trial 0" in written
    assert "2 distinct of 3 trials" in written
    assert "epsilon in total  4 if all 2 results are published" in written
    assert "time  unknown" in written
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rum"], "did you mean run?"),
        (["run", "--nonsense"], "unrecognized arguments"),
        (["run", "model=mpl"], "model=mlp"),
        (["status", "nowhere"], "no folder nowhere"),
        (["resume", "nowhere"], "no folder nowhere"),
        (["compare", "nowhere"], "no folder nowhere"),
        (["report", "."], "cannot be rendered"),
        (["status", "."], "no run folder"),
        (["plugins", "show", "pariti"], "did you mean parity?"),
        (["plugins", "new", "Wrong Name"], "no name of a plugin"),
        (["plugins"], "required"),
    ],
)
def test_wrong_words_end_with_2(
    words: list[str], says: str, strangers: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["run", "--help"], ["status", "--help"], ["--version"]])
def test_help_ends_with_0(words: list[str], strangers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "steelyard" in capsys.readouterr().out


def test_the_help_of_run_explains_what_is_selected(nothing: Words, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help", *nothing, "fairness=parity"]) == 0
    written = capsys.readouterr().out
    assert "fairness=broken|contested|everything|gap|needy|none|parity*|strict|thing" in written
    assert "fairness.parity.threshold=0.1  (float >= 0, <= 1 fraction)  largest gap" in written


def test_cfg_prints_what_the_run_folder_would_keep(nothing: Words, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *nothing, "fairness=parity", "--cfg", "job", "--package", "fairness"]) == 0
    expected = "# @package fairness\nparity:\n  threshold: 0.1\n  samples: 64\n  mode: mean\n"
    assert capsys.readouterr().out == expected


def test_cfg_of_hydra_and_info(nothing: Words, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *nothing, "--cfg", "hydra", "--package", "hydra.job.chdir"]) == 0
    assert "false" in capsys.readouterr().out.lower()


def test_plugins_list_names_what_is_broken(strangers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "Compares the groups." in lines["fairness.parity"]
    assert "built for another version" in lines["fairness.broken"]
    assert "pip install 'strangers[needy]'" in lines["fairness.needy"]
    assert "rivals" in lines["fairness.contested"]
    assert "lower case" in lines["Fairness.Loud"]


def test_plugins_show(strangers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "parity"]) == 0
    written = capsys.readouterr().out
    assert "Compares the groups." in written
    assert "fairness.parity.mode=mean" in written
    assert "largest gap" in written


def test_completion(strangers: Path) -> None:
    complete = completion.complete
    assert complete("steelyard sta") == ["status"]
    assert complete("steelyard plugins s") == ["show"]
    assert complete("steelyard plugins show fairness.p") == ["fairness.parity"]
    assert complete("steelyard run --mul") == ["--multirun"]
    assert complete("steelyard run fairn") == ["fairness.", "fairness="]
    assert complete("steelyard run fairness=pa") == ["fairness=parity"]
    assert complete("steelyard run fairness=[gap,pa") == ["fairness=[gap,parity"]
    assert complete("steelyard run fairness=parity fairness.parity.s") == ["fairness.parity.samples="]
    assert complete("steelyard run optimizer.l") == ["optimizer.lr="]
    assert complete("steelyard nonsense x") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "steelyard completion query" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("line", "offers"),
    [("steelyard sta", "status"), ("steelyard run model=m", "mlp"), ("steelyard run model.dr", "model.dropout=")],
)
def test_bash_completes(line: str, offers: str, tmp_path: Path) -> None:
    (tmp_path / "steelyard").write_text(f'#!/bin/sh\nexec {sys.executable} -m steelyard "$@"\n')
    (tmp_path / "steelyard").chmod(0o755)
    script = completion.SCRIPTS["bash"] + (
        f'compopt() {{ :; }}; COMP_LINE="{line}"; COMP_POINT={len(line)}; _steelyard; echo "${{COMPREPLY[*]}}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.stdout.split() == [offers]


def test_status_says_how_a_run_ended(
    nothing: Words, stub: Callable[..., Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    stub(ValueError("diverged"))
    main(["run", *nothing])
    capsys.readouterr()
    assert main(["status", "outputs/run"]) == 0
    written = capsys.readouterr().out
    assert "failed" in written
    assert "diverged" in written
