import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from helpers.plugins import Fake
from steelyard import experiment, folder
from steelyard.draft import Draft
from steelyard.folder import State
from steelyard.guards import NonFiniteLoss
from steelyard.measurement import Artefact, Measurement
from steelyard.problem import Problem, Refused
from steelyard.runs import Run
from steelyard.selection import Selected


def measure(_: Run) -> Iterator[Measurement | Artefact]:
    yield Measurement(name="x", value=1.0, interval=(0.5, 1.5))


def test_a_run_leaves_a_folder_with_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = tiny.run(monkeypatch, tmp_path, Selected("a.x", Fake(on_measure=measure)))
    (place,) = tmp_path.iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{8}", place.name)
    assert place.name.endswith(card.spec[:8])
    assert {path.name for path in place.iterdir()} == {
        ".lock",
        "checkpoints",
        "config.yaml",
        "provenance.json",
        "report.html",
        "scorecard.json",
        "status.json",
        "task",
    }
    assert folder.status(place).state is State.DONE
    provenance = json.loads((place / "provenance.json").read_text())
    assert provenance["spec"] == card.spec
    assert {"versions", "git", "seed", "data_fingerprint", "device", "command"} <= set(provenance)
    written = json.loads((place / "scorecard.json").read_text())
    assert written["schema_version"] == 1
    assert written["waited"] is None or 0 <= written["waited"] <= written["seconds"]


@pytest.mark.parametrize(("limit", "code"), [(2.0, 0), (1.2, 1), (0.1, 1)])
def test_requirements_decide_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: float, code: int
) -> None:
    require = {"a": {"x": {"x": {"max": limit}}}}
    card = tiny.run(monkeypatch, tmp_path, Selected("a.x", Fake(on_measure=measure)), require=require)
    assert card.exit_code == code


def test_equal_runs_have_equal_specs_and_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, two = (tiny.run(monkeypatch, tmp_path) for _ in range(2))
    assert one.spec == two.spec
    assert one.sections[0].measurements == two.sections[0].measurements
    assert tiny.run(monkeypatch, tmp_path, seed=1).spec != one.spec


def test_a_plugin_without_claims_changes_no_bit_of_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def draws(_: Draft) -> None:
        torch.rand(7)

    tiny.run(monkeypatch, tmp_path / "with", Selected("a.x", Fake(on_attach=draws, on_measure=measure)))
    tiny.run(monkeypatch, tmp_path / "without")
    one, other = (
        torch.load(next((tmp_path / name).glob("*/checkpoints/last.ckpt")), weights_only=True)["state_dict"]
        for name in ("with", "without")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_refused_run_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusing = Selected("a.x", Fake(problems=(Problem("no", "x=1"),)))
    with pytest.raises(Refused):
        tiny.run(monkeypatch, tmp_path / "outputs", refusing)
    assert not (tmp_path / "outputs").exists()


def test_a_plugin_that_breaks_its_claims_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cheating = Selected("a.x", Fake(on_attach=lambda draft: draft.task.eval() and None))
    with pytest.raises(Refused, match="train and eval flags"):
        tiny.run(monkeypatch, tmp_path / "outputs", cheating)
    assert list((tmp_path / "outputs").iterdir()) == []


def test_a_refused_trial_of_a_sweep_leaves_its_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusing = Selected("a.x", Fake(problems=(Problem("no", "x=1"),)))
    with pytest.raises(Refused):
        tiny.run(monkeypatch, tmp_path, refusing, folder_name="0")
    found = folder.status(tmp_path / "0")
    assert (found.state, found.exit_code) == (State.REFUSED, 2)
    assert "a.x: no" in found.message


def test_a_layer_made_late_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Late(Fake):
        def preflight(self, draft: Draft) -> Iterator[Problem]:
            for name, module in draft.task.named_modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    yield Problem(f"{name} is BatchNorm1d", "model.norm=group")

    class LateTask(type(tiny.draft().task)):  # pyright: ignore[reportUntypedBaseClass]
        def configure_model(self) -> None:
            self.late = torch.nn.BatchNorm1d(3)

    def make_late(config: Any, data: Any) -> Draft:
        draft = original(config, data)
        draft.task.__class__ = LateTask
        return draft

    original = experiment.building.make_draft
    monkeypatch.setattr(experiment.building, "make_draft", make_late)
    with pytest.raises(Refused, match="late is BatchNorm1d"):
        tiny.run(monkeypatch, tmp_path, Selected("a.x", Late()))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_ends_the_run_before_it_ruins_the_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NonFiniteLoss, match=r"not finite at step \d+ .*optimizer\.lr"):
        tiny.run(
            monkeypatch, tmp_path, optimizer={"_target_": "torch.optim.SGD", "lr": 1e12}, trainer={"max_epochs": 50}
        )
    (place,) = tmp_path.iterdir()
    found = folder.status(place)
    assert (found.state, found.exit_code) == (State.FAILED, 3)
    assert "NonFiniteLoss" in found.message
    assert "Traceback" in (place / "traceback.txt").read_text()
    kept = (
        torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        if (place / "checkpoints").exists()
        else {}
    )
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


@pytest.mark.parametrize(
    "file", ["config.yaml", "provenance.json", "status.json", "scorecard.json", "report.html", "last.ckpt", ".reserve"]
)
def test_no_space_left_at_any_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str) -> None:
    original = os.replace
    writes: list[str] = []

    def full(source: Any, target: Any) -> None:
        name = Path(target).name
        writes.append(name)
        # The first status is refused, too: then there is no run.
        if name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(source, target)

    monkeypatch.setattr(Path, "replace", lambda self, target: full(self, target))
    with pytest.raises(OSError, match="No space left on device") as caught:
        tiny.run(monkeypatch, tmp_path)
    assert Path(caught.value.filename).name == file
    assert file in writes
    places = list(tmp_path.iterdir())
    if file in ("status.json", ".reserve"):
        assert places == []
    else:
        assert folder.status(places[0]).state is State.FAILED
        assert folder.status(places[0]).exit_code == 3
        assert not list(places[0].rglob("*.tmp"))


def test_an_unreadable_argument_of_the_trainer_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="max_epoch"):
        tiny.run(monkeypatch, tmp_path, trainer={"max_epoch": 3})
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny.run(monkeypatch, tmp_path, paths={"api_key": "hunter2", "token": "${oc.env:HOME}"})
    (place,) = tmp_path.iterdir()
    everything = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert b"hunter2" not in everything
    assert "${oc.env:HOME}" in (place / "config.yaml").read_text()


def test_weigh_measures_the_same_model_without_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained: list[bool] = []

    def note(run: Run) -> Iterator[Measurement | Artefact]:
        trained.append(run.trained)
        return measure(run)

    selected = Selected("a.x", Fake(on_measure=note))
    card = tiny.run(monkeypatch, tmp_path / "first", selected)
    (place,) = (tmp_path / "first").iterdir()
    weighed = experiment.weigh(
        tiny.config(),
        ckpt=place / "checkpoints" / "last.ckpt",
        choices=tiny.CHOICES,
        overrides=[],
        outputs=tmp_path / "second",
    )
    assert weighed.sections[0].measurements == card.sections[0].measurements
    assert trained == [True, False]
    assert not list((tmp_path / "second").rglob("*.ckpt"))


def test_weigh_refuses_another_model_and_what_is_no_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny.run(monkeypatch, tmp_path / "first")
    (place,) = (tmp_path / "first").iterdir()
    words: dict[str, Any] = {"choices": tiny.CHOICES, "overrides": [], "outputs": tmp_path / "second"}
    checkpoint = place / "checkpoints" / "last.ckpt"
    with pytest.raises(Refused, match="holds another model"):
        experiment.weigh(tiny.config(model={"hidden": [7]}), ckpt=checkpoint, **words)
    with pytest.raises(Refused, match="there is no checkpoint"):
        experiment.weigh(tiny.config(), ckpt=place / "nothing.ckpt", **words)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(Refused, match="no readable checkpoint"):
        experiment.weigh(tiny.config(), ckpt=checkpoint, **words)
    torch.save({"state_dict": {}, "evil": Path("x")}, checkpoint)
    with pytest.raises(Refused, match="more than tensors"):
        experiment.weigh(tiny.config(), ckpt=checkpoint, **words)
    assert list((tmp_path / "second").iterdir()) == []
