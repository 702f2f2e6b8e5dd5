from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import LightningDataModule, LightningModule

from helpers import tiny
from steelyard import assembly, building
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.testing import PluginSuite
from steelyard_compute import Distill
from steelyard_compute._distill import distance
from steelyard_privacy import DPSGD


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        tiny.run(patch, place, folder_name="run", trainer={"max_epochs": 6}, optimizer={"lr": 0.01})
    return place / "run"


def chosen(**settings: Any) -> Selected:
    return Selected("compute.distill", Distill(**settings))


def test_the_distance_is_the_sum_over_the_classes() -> None:
    ours, theirs = torch.tensor([[1.0, 0.0, -2.0]]), torch.tensor([[0.5, 0.5, 3.0]])
    soft = [torch.tensor([value / 4 for value in row[0].tolist()]).exp() for row in (ours, theirs)]
    p, q = (row / row.sum() for row in soft)
    slow = sum(float(q[place]) * float(torch.log(q[place] / p[place])) for place in range(3))
    assert float(distance(ours, theirs, temperature=4)) == pytest.approx(16 * slow, rel=1e-5)
    assert float(distance(theirs, theirs, temperature=4)) == pytest.approx(0, abs=1e-6)


def test_the_loss_is_shared_with_the_teacher_and_its_weights_stay(teacher: Path) -> None:
    draft = tiny.draft()
    plain = tiny.draft().task
    batch = next(iter(draft.data.train_dataloader()))
    before = torch.load(teacher / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    big = tiny.draft().task
    big.load_state_dict(before)
    names = [name for name, _ in draft.task.named_modules()]
    with torch.no_grad():
        assembly.attach([chosen(teacher=teacher, weight=0.3, temperature=3)], draft)
        with assembly.wrapped(draft):
            found = draft.task.training_step(batch, 0)
        alone, ours, theirs = plain.training_step(batch, 0), plain(batch[0]), big.eval()(batch[0])
    wanted = 0.7 * alone + 0.3 * distance(ours, theirs, temperature=3).mean()
    torch.testing.assert_close(found, wanted)
    assert [name for name, _ in draft.task.named_modules()] == names
    assert not draft.task._forward_hooks


def test_a_model_learns_to_answer_like_its_teacher(
    teacher: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = {"model": {"hidden": [64]}, "trainer": {"max_epochs": 15}, "optimizer": {"lr": 0.01}}
    card = tiny.run(monkeypatch, tmp_path, chosen(teacher=teacher, weight=1.0), folder_name="run", **small)
    alike, lost = card["compute.distill.agreement"], card["compute.distill.marks_lost"]
    assert alike.value > 0.7
    assert alike.count == lost.count == 96
    assert "of its 9,6" in lost.note
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert not [name for name in state if "teacher" in name]


@pytest.mark.parametrize(
    ("folder", "words"), [(None, "no teacher is named"), (Path("nowhere"), "the teacher nowhere has no config.yaml")]
)
def test_a_missing_teacher_is_refused(folder: Path | None, words: str) -> None:
    with pytest.raises(Refused, match=words):
        preflight([chosen(teacher=folder)], tiny.draft())


def test_a_teacher_that_does_not_fit_is_refused(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").symlink_to(teacher / "checkpoints/last.ckpt")
    config = OmegaConf.load(teacher / "config.yaml")
    OmegaConf.save(OmegaConf.merge(config, {"model": {"hidden": [7]}}), tmp_path / "config.yaml")
    with pytest.raises(Refused, match="does not fit its checkpoint"):
        assembly.attach([chosen(teacher=tmp_path)], tiny.draft())


def test_an_unprotected_teacher_under_differential_privacy_is_refused(teacher: Path) -> None:
    private = Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=0))
    with pytest.raises(Refused, match=r"owns the gradients of the run, and compute.distill changes them too"):
        preflight([private, chosen(teacher=teacher)], tiny.draft())


class TestDistill(PluginSuite):
    plugin = Distill()

    def data(self) -> LightningDataModule:
        return building.make_data(tiny.config())

    def task(self, data: LightningDataModule) -> LightningModule:
        return building.make_draft(tiny.config(), data).task


@pytest.fixture(autouse=True, scope="module")
def _taught(teacher: Path) -> None:
    TestDistill.plugin = Distill(teacher=teacher)
