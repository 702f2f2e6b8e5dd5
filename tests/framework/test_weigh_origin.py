"""`steelyard weigh ckpt=RUN/checkpoints/last.ckpt` knows the run that the checkpoint is of."""

import json
import shutil
from pathlib import Path

import pytest

from steelyard.cli import _jobs, _origin, main
from steelyard.cli._origin import origin
from steelyard.stored import StoredRun

QUICK = ("interpretability=none", "privacy=none", "trainer.enable_progress_bar=false")
MADE = ("model=cnn", "model.channels=[4]", "stability=none", "trainer.max_epochs=1", "seed=3", "compute=none")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("made"))
        assert main(["run", *MADE, *QUICK]) == 0
        (kept,) = Path.cwd().glob("outputs/*/checkpoints/last.ckpt")
    return kept


def weighed(place: Path) -> StoredRun:
    (folder,) = place.glob("outputs/*")
    return StoredRun(folder)


def test_the_words_of_the_run_come_first_and_those_of_the_command_replace_them(
    checkpoint: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weigh", f"ckpt={checkpoint}", "stability=noise", "stability.noise.levels=[1]"]) == 0
    run = weighed(workdir)
    made = StoredRun(checkpoint.parents[1])
    assert {part: run.config[part] for part in ("model", "data", "task", "seed")} == {
        part: made.config[part] for part in ("model", "data", "task", "seed")
    }
    assert list(run.config["stability"]) == ["noise"]
    assert "stability=none" not in run.scorecard.overrides
    assert run.scorecard.choices["model"] == "cnn"
    assert f"note: {made.folder.name} was made by model=cnn model.channels=[4]" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_whole_config_needs_no_words_of_a_run(checkpoint: Path, workdir: Path) -> None:
    words = (f"ckpt={checkpoint}", f"config={checkpoint.parents[1] / 'config.yaml'}")
    assert main(["weigh", *words]) == 0
    assert weighed(workdir).scorecard.overrides == (words[1],)


def test_cfg_shows_what_would_be_weighed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([f"ckpt={checkpoint}"], [f"config={checkpoint.parents[1] / 'config.yaml'}", f"ckpt={checkpoint}"]):
        assert main(["weigh", *words, "--cfg", "job", "--package", "model.channels"]) == 0
        assert capsys.readouterr().out == "# @package model.channels\n- 4\n"


def test_a_look_at_the_config_needs_no_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weigh", "--cfg", "job", "--package", "seed"]) == 0
    assert capsys.readouterr().out == "# @package seed\n0\n"


def test_a_checkpoint_that_was_taken_elsewhere_is_of_no_run(checkpoint: Path, tmp_path: Path) -> None:
    assert origin(Path(shutil.copy(checkpoint, tmp_path)), ()) is None
    (tmp_path / "config.yaml").write_text("model: 1")
    below = tmp_path / "checkpoints"
    below.mkdir()
    assert origin(Path(shutil.copy(checkpoint, below)), ()) is None


def copied(checkpoint: Path, place: Path, words: list[str]) -> Path:
    """The checkpoint in a run that was made by other words."""
    run = Path(shutil.copytree(checkpoint.parents[1], place / "run"))
    kept = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps(kept | {"overrides": words}))
    return run / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ((), ["privacy=dp_sgd", "+privacy.dp_sgd.new=1", "logger=csv"]),
        (("privacy=none",), ["logger=csv"]),
        (("privacy.dp_sgd.new=2",), ["privacy=dp_sgd", "logger=csv"]),
        (("~logger",), ["privacy=dp_sgd", "+privacy.dp_sgd.new=1"]),
    ],
)
def test_what_is_said_anew_and_what_was_hidden_is_left_out(
    checkpoint: Path, tmp_path: Path, said: tuple[str, ...], left: list[str]
) -> None:
    kept = copied(checkpoint, tmp_path, ["privacy=dp_sgd", "+privacy.dp_sgd.new=1", "logger=csv", "logger.token=***"])
    found = origin(kept, said)
    assert found is not None
    assert list(found.words) == left


def test_a_run_of_a_whole_config_is_taken_whole(checkpoint: Path, tmp_path: Path) -> None:
    kept = copied(checkpoint, tmp_path, ["config=elsewhere.yaml", "seed=1"])
    found = origin(kept, ())
    assert found is not None
    assert found.words == (f"config={kept.parents[1] / 'config.yaml'}",)


def test_words_that_give_another_model_today_are_refused(
    checkpoint: Path, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = copied(checkpoint, workdir, ["model=cnn", "model.channels=[5]"])
    assert main(["weigh", f"ckpt={kept}", *QUICK]) == 2
    said = "".join(capsys.readouterr().err.split())
    assert "anothermodeltoday" in said
    assert "config=" in said


@pytest.mark.parametrize(("said", "verb"), [((), "single"), (("experiment=first_look",), "sweep"), (("-m",), "sweep")])
def test_the_trial_of_an_experiment_that_sweeps_is_weighed_once(
    said: tuple[str, ...], verb: str, checkpoint: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = copied(checkpoint, workdir, ["experiment=first_look"])
    called: list[str] = []
    for name in ("single", "sweep"):
        monkeypatch.setattr(_jobs, name, lambda *_, name=name: called.append(name) or 0)
    # It was another experiment that made it.
    monkeypatch.setattr(_origin.Origin, "marked", lambda self, composed: composed)
    assert main(["weigh", f"ckpt={kept}", *said]) == 0
    assert called == [verb]
