"""The guard in whole runs: through the core, the command line, checkpoints, beside privacy, on several ranks."""

import csv
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from steelyard import folder
from steelyard.attachment import Attachment
from steelyard.cli import main
from steelyard.draft import Draft
from steelyard.plugin import Plugin
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.seam import Seam
from steelyard.selection import Selected
from steelyard.stored import StoredRun
from steelyard_compute import Accumulation, Optimizer8bit
from steelyard_privacy.dp_sgd import DPSGD
from steelyard_stability import TrainGuard
from steelyard_stability._train_guard import TrainingStopped

KEY = "stability.train_guard"
POISON = "helpers.poison.Poison"
BARE = ["compute=none", "privacy=none", "interpretability=none", "data.limit=96", "data.batch_size=8"]
WORDS = ["run", *BARE, "stability=train_guard", "trainer.enable_progress_bar=false", "trainer.max_epochs=4"]


def poisoned(**options: Any) -> list[dict[str, Any]]:
    return [{"_target_": POISON, **options}]


def finite(tree: Any) -> bool:
    if isinstance(tree, torch.Tensor):
        return not tree.is_floating_point() or bool(torch.isfinite(tree).all())
    if isinstance(tree, dict):
        return all(finite(value) for value in tree.values())
    return all(finite(value) for value in tree) if isinstance(tree, list | tuple) else True


def last(place: Path) -> dict[str, Any]:
    return torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)


def newest(workdir: Path) -> Path:
    return max((workdir / "outputs").glob("*/"), key=lambda place: place.stat().st_mtime)


def test_a_run_with_bad_batches_ends_well_and_shows_them(workdir: Path) -> None:
    callback = f"trainer.callbacks=[{{_target_:{POISON},steps:[12,20]}}]"
    assert main([*WORDS, callback]) == 0
    place = newest(workdir)
    card = StoredRun(place).scorecard
    found = {row.name.removeprefix(f"{KEY}."): row.value for section in card.sections for row in section.measurements}
    assert found["skipped_steps"] == found["not_finite"] == 2
    assert found["skipped_share"] == pytest.approx(2 / 48)
    assert found["spikes"] == found["rewinds"] == found["level_shifts"] == 0
    with (place / "stability" / "train_guard" / "faults.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["epoch"], row["batch"]) for row in rows] == [("12", "1", "0"), ("20", "1", "8")]
    assert all(row["the same batch again"] == "reproducible" and row["then"] == "left out" for row in rows)
    assert all("rows 0 of the batch" in row["not finite in the batch"] for row in rows)
    assert (place / "stability" / "train_guard" / "training.png").stat().st_size > 1000
    assert finite(last(place)["state_dict"])
    assert finite(last(place)["optimizer_states"])


def test_bad_batches_without_end_fail_the_run_and_name_a_checkpoint_to_go_on_from(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = f"trainer.callbacks=[{{_target_:{POISON},since:0,epoch:2}}]"
    assert main([*WORDS, callback]) == 3
    place = newest(workdir)
    told = folder.status(place)
    assert (told.state, told.exit_code) == (folder.State.FAILED, 3)
    assert "5 bad steps in a row" in told.message
    assert str(place / "checkpoints" / "last.ckpt") in told.message
    assert "rows 0 of the batch" in capsys.readouterr().err
    kept = last(place)
    assert (kept["epoch"], kept["global_step"]) == (1, 24)
    assert finite(kept["state_dict"])
    assert finite(kept["optimizer_states"])


def test_weights_that_are_ruined_are_never_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ruin = {"callbacks": [{"_target_": "helpers.poison.Ruin", "epoch": 1}], "max_epochs": 3}
    with pytest.raises(TrainingStopped, match=r"no checkpoint is written\. The last healthy .*last\.ckpt"):
        tiny.run(monkeypatch, tmp_path, Selected(KEY, TrainGuard()), trainer=ruin)
    (place,) = tmp_path.iterdir()
    assert last(place)["epoch"] == 0
    assert finite(last(place)["state_dict"])


def test_resuming_goes_on_with_what_was_seen(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workdir / "halt.py").write_text(HALT)
    monkeypatch.syspath_prepend(str(workdir))
    callbacks = f"trainer.callbacks=[{{_target_:{POISON},steps:[3,14]}},{{_target_:halt.Halt}}]"
    assert main([*WORDS, callbacks]) == 3
    place = newest(workdir)
    assert main(["resume", str(place)]) == 0
    book = last(place)["callbacks"][KEY]["book"]
    assert [(fault["step"], fault["epoch"]) for fault in book["faults"]] == [(3, 0), (14, 1)]
    assert (book["steps"], sum(book["kinds"].values())) == (48, 2)
    assert [step for step, *_ in book["curve"]] == [step for step in range(48) if step not in (3, 14)]


HALT = """
import pathlib
from pytorch_lightning import Callback
class Halt(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 18 and not pathlib.Path("halted").exists():
            pathlib.Path("halted").touch()
            raise OSError("halted")
"""


def test_the_first_faults_are_told_while_training_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="steelyard_stability"):
        trainer = {"callbacks": poisoned(steps=[2], value=math.inf)}
        tiny.run(monkeypatch, tmp_path, Selected(KEY, TrainGuard()), trainer=trainer)
    (told,) = [row.getMessage() for row in caplog.records if row.name.startswith("steelyard_stability")]
    assert told.startswith(f"{KEY}: step 2 (epoch 0, batch 2): loss not finite")
    assert told.endswith("the same batch again: reproducible; left out")


def test_without_the_guard_the_core_ends_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the loss is not finite at step 2"):
        tiny.run(monkeypatch, tmp_path, trainer={"callbacks": poisoned(steps=[2])})


@pytest.mark.parametrize(
    ("trainer", "fix"),
    [
        ({"precision": "16-mixed"}, "trainer.precision=bf16-mixed"),
        ({"strategy": "fsdp2"}, "trainer=ddp"),
        ({"strategy": "deepspeed_stage_2"}, "trainer=ddp"),
    ],
)
def test_what_it_cannot_judge_is_refused_with_what_to_take_instead(trainer: dict[str, Any], fix: str) -> None:
    draft = tiny.draft(trainer=trainer)
    with pytest.raises(Refused) as refused:
        preflight([Selected(KEY, TrainGuard())], draft)
    assert fix in [problem.fix for problem in refused.value.problems if problem.party == KEY]


@pytest.mark.parametrize(
    ("others", "trainer"),
    [
        ([Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None))], {}),
        ([], {"gradient_clip_val": 1.0}),
        ([], {"strategy": "ddp", "devices": 2}),
        ([Selected("compute.accumulation", Accumulation()), Selected("compute.optimizer_8bit", Optimizer8bit())], {}),
    ],
)
def test_it_lives_beside_privacy_clipping_ranks_and_levers(others: list[Selected], trainer: dict[str, Any]) -> None:
    preflight([*others, Selected(KEY, TrainGuard())], tiny.draft(trainer=trainer))


@dataclass(frozen=True, kw_only=True)
class Spoil(Plugin):
    """Spoils a gradient after privacy has made it, and before the guard looks."""

    shares = frozenset({Seam.OBJECTIVE})

    def attach(self, draft: Draft) -> Attachment:
        class Spoiling(Attachment):
            def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
                if trainer.global_step == 9:
                    next(pl_module.parameters()).grad[0, 0] = math.nan

        return Spoiling()


def test_in_a_private_run_it_sees_and_tells_only_what_is_released(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private = Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=0))
    chosen = (private, Selected("stability.spoil", Spoil()), Selected(KEY, TrainGuard()))
    card = tiny.run(monkeypatch, tmp_path, *chosen, trainer={"max_epochs": 10})
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (row,) = csv.DictReader((place / "stability" / "train_guard" / "faults.csv").read_text().splitlines())
    assert not {"batch", "not finite in the batch", "first seen in", "the same batch again"} & row.keys()
    assert not any("loss" in head for head in row)
    assert (row["step"], row["what"], row["then"]) == ("9", "gradient not finite", "left out")
    book = last(place)["callbacks"][KEY]["book"]
    assert len(book["curve"]) == book["steps"] - 1
    assert all(loss is None for _, loss, _ in book["curve"])
    assert finite(last(place)["state_dict"])
    rows = {row.name: row for section in card.sections for row in section.measurements}
    assert rows[f"{KEY}.skipped_steps"].value == 1
    assert {row.split for name, row in rows.items() if name.startswith(KEY)} == {None}
    # The account counts the step, which was released.
    assert last(place)["callbacks"]["privacy.dp_sgd"]["steps"] == book["steps"]


@pytest.mark.slow
def test_all_ranks_decide_alike(workdir: Path) -> None:
    callback = "trainer.callbacks=[{_target_:helpers.poison.Poison,steps:[3],rank:1}]"
    assert main([*WORDS, "trainer=ddp", "trainer.max_epochs=2", callback]) == 0
    content = last(newest(workdir))
    (fault,) = content["callbacks"][KEY]["book"]["faults"]
    assert (fault["step"], fault["again"]) == (3, "reproducible")
    assert finite(content["state_dict"])
