"""Trackers: each gets the config, the scores and the pictures of a run; a sweep stands above its trials."""

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from steelyard import folder, tracking
from steelyard.cli import main
from steelyard.composing import compose
from steelyard.measurement import Measurement, Status
from steelyard.problem import Refused
from steelyard.scorecard import Scorecard, Section, StoredArtefact
from steelyard.stored import StoredRun

BARE = ["compute=none", "privacy=none", "interpretability=none", "stability=none", "trainer.max_epochs=1"]
QUIET = ["trainer.enable_progress_bar=false", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
ROWS = (
    Measurement(name="stability.noise.accuracy", value=0.75, interval=(0.5, 1.0)),
    Measurement(name="stability.noise.kept", value=0.25, at={"severity": 0.1, "kind": "a=b"}),
    Measurement(name="stability.noise.lost", value=9.0, status=Status.INVALID, note="a control failed"),
    Measurement(name="stability.noise.gone", status=Status.SKIPPED, note="no time"),
)
NUMBERS = {
    "stability.noise.accuracy": 0.75,
    "stability.noise.accuracy.low": 0.5,
    "stability.noise.accuracy.high": 1.0,
    "stability.noise.kept/severity_0.1/kind_a_b": 0.25,
}


@pytest.fixture
def place(workdir: Path) -> Path:
    """A run folder with a picture and a table."""
    made = workdir / "outputs" / "run"
    (made / "stability" / "noise").mkdir(parents=True)
    picture = io.BytesIO()
    Image.new("RGBA", (8, 8), "red").save(picture, "png")
    (made / "stability" / "noise" / "curve.png").write_bytes(picture.getvalue())
    (made / "stability" / "noise" / "rows.csv").write_text("a,b\n1,x|y\n")
    (made / "report.html").write_text("<html>")
    return made


@pytest.fixture
def card() -> Scorecard:
    artefacts = tuple(
        StoredArtefact(kind=kind, title=kind, path=f"stability/noise/{name}")
        for kind, name in (("picture", "curve.png"), ("table", "rows.csv"))
    )
    section = Section(key="stability.noise", status=Status.MEASURED, measurements=ROWS, artefacts=artefacts)
    return Scorecard(title="digits, mlp", spec="0123", seed=0, sections=(section,))


def told(config: DictConfig, place: Path, card: Scorecard) -> list[Any]:
    """A whole run's words to its trackers."""
    made = tracking.loggers(config, place)
    tracking.begin(made, config, place, title=card.title, spec_hash=card.spec)
    tracking.deliver(made, config, place, card)
    return made


def tensorboard(place: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(place)).Reload()


def test_only_what_can_be_trusted_is_a_number(card: Scorecard) -> None:
    assert tracking.scores(card) == NUMBERS


def test_csv_gets_config_and_scores(place: Path, card: Scorecard) -> None:
    told(compose("logger=csv").config, place, card)
    head, values = (place / "metrics" / "metrics.csv").read_text().splitlines()
    assert {**dict(zip(head.split(","), map(float, values.split(",")), strict=True)), "step": 0} == NUMBERS | {
        "step": 0
    }
    assert OmegaConf.load(place / "metrics" / "hparams.yaml").optimizer.lr == compose().config.optimizer.lr


def test_several_loggers_are_all_told(place: Path, card: Scorecard) -> None:
    config = compose().config
    node = OmegaConf.to_container(compose("logger=csv").config.logger)
    config.logger = [node, {**node, "version": "again"}]
    told(config, place, card)
    assert (place / "metrics" / "metrics.csv").read_text() == (place / "again" / "metrics.csv").read_text()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_config_scores_and_pictures(place: Path, card: Scorecard) -> None:
    pytest.importorskip("tensorboard")
    config = compose("logger=tensorboard", "+vars.api_token=secret").config
    told(config, place, card)
    found = tensorboard(place / "tensorboard")
    tags = found.Tags()
    assert {name: round(found.Scalars(name)[0].value, 6) for name in NUMBERS} == NUMBERS
    assert tags["images"] == ["stability/noise/curve"]
    assert "stability/noise/rows/text_summary" in tags["tensors"]
    written = (place / "tensorboard" / "hparams.yaml").read_text()
    assert "optimizer:" in written
    assert "secret" not in written


def test_a_missing_library_is_named_before_training(monkeypatch: pytest.MonkeyPatch, workdir: Path) -> None:
    monkeypatch.setattr("steelyard.extras.find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"(?s)mlflow is not installed.*steelyard\[mlflow\]"):
        raise Refused(list(tracking.check(compose("logger=mlflow").config)))


def test_a_tracker_that_is_gone_costs_a_warning_and_not_the_run(place: Path, card: Scorecard) -> None:
    made = tracking.loggers(compose("logger=csv").config, place)

    def gone(*_: object) -> None:
        raise ConnectionError("nobody there")

    made[0].log_metrics = gone
    with pytest.warns(UserWarning, match="CSVLogger did not get the scores: ConnectionError: nobody there"):
        tracking.deliver(made, compose().config, place, card)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_wandb_keeps_all_of_it_offline(place: Path, card: Scorecard, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = compose("logger=wandb", "logger.offline=true").config
    (logger,) = told(config, place, card)
    assert folder.read_json(place / "tracking.json") == {"WandbLogger": logger.version}
    (written,) = place.glob("wandb/offline-run-*/*.wandb")
    names = [name.encode() for name in (*NUMBERS, "optimizer")]
    # Its service may still be writing when `finish` is back.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not all(name in written.read_bytes() for name in names):
        time.sleep(0.1)
    content = written.read_bytes()
    assert [name for name in names if name not in content] == []
    assert list(place.glob("wandb/offline-run-*/files/media/images/stability/noise/curve*.png"))


MLFLOW = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def server(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real MLflow server on sqlite."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = workdir / "server"
    place.mkdir()
    words = ["--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", "sqlite:///store.db", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words, "--artifacts-destination", str(place / "files")],
        cwd=place,
        env=dict(os.environ),
        stdout=(place / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert process.poll() is None, (place / "log").read_text()
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        uri = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@MLFLOW
def test_mlflow_gets_config_scores_and_pictures(place: Path, card: Scorecard, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = compose("logger=mlflow").config
    told(config, place, card)
    (logger,) = tracking.loggers(config, place)
    assert logger.run_id == folder.read_json(place / "tracking.json")["MLFlowLogger"]
    run = logger.experiment.get_run(logger.run_id)
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"
    assert run.data.metrics == NUMBERS
    assert run.data.params["optimizer/lr"] == str(config.optimizer.lr)
    assert run.data.tags["steelyard.spec"] == "0123"
    kept = [one.path for one in logger.experiment.list_artifacts(logger.run_id, "stability/noise")]
    assert kept == ["stability/noise/curve.png", "stability/noise/rows.csv"]


@pytest.mark.slow
@MLFLOW
def test_a_sweep_is_one_run_with_its_trials_below_it_on_a_real_server(server: str, workdir: Path) -> None:
    from mlflow.tracking import MlflowClient

    few = ["interpretability=none", "stability=none", *QUIET, "trainer.max_epochs=1"]
    assert main(["run", "-m", *few, "logger=mlflow", "seed=0,1", "optimizer.lr=0.01,1e38"]) == 3
    (place,) = (workdir / "outputs").glob("*_sweep")
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("steelyard")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_name for run in parents] == [place.name]
    children = [run for run in runs if run not in parents]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    by_name = {run.info.run_name: run for run in children}
    assert sorted(by_name) == [f"{place.name}/{name}" for name in range(4)]
    states = [by_name[f"{place.name}/{name}"].info.status for name in range(4)]
    assert states == ["FINISHED", "FAILED", "FINISHED", "FAILED"]
    for name in ("0", "2"):
        run = by_name[f"{place.name}/{name}"]
        expected = tracking.scores(StoredRun(place / name).scorecard)
        assert {key: run.data.metrics[key] for key in expected} == pytest.approx(expected)
        assert run.data.params["seed"] == str(StoredRun(place / name).scorecard.seed)
    assert {one.path for one in client.list_artifacts(parents[0].info.run_id)} == {"sweep.csv", "sweep.html"}
    assert main(["resume", str(place)]) == 3
    again = client.search_runs([experiment.experiment_id])
    assert len([run for run in again if "mlflow.parentRunId" not in run.data.tags]) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_sweep_in_tensorboard_has_its_table_above_its_trials(workdir: Path) -> None:
    assert main(["run", "-m", *BARE, *QUIET, "logger=tensorboard", "seed=0,1"]) == 0
    (place,) = (workdir / "outputs").glob("*_sweep")
    assert "sweep/text_summary" in tensorboard(place / "tensorboard").Tags()["tensors"]
    for name in ("0", "1"):
        expected = tracking.scores(StoredRun(place / name).scorecard)
        assert set(tensorboard(place / name / "tensorboard").Tags()["scalars"]) >= set(expected)
