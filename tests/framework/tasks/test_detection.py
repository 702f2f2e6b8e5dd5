"""The task of finding objects, alone and weighed on all four challenges with a tiny model."""

from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything

import steelyard
from steelyard.adapters import IGNORED
from steelyard.data import Shapes
from steelyard.models import RTDETR
from steelyard.problem import Refused
from steelyard.tasks import Detection

SIZES = {"input_shape": (3, 64, 64), "classes": 3, "mean": 0.35, "std": 0.25}
TINY = {**SIZES, "widths": (4, 8, 8), "depths": (1, 1, 1), "width": 16, "heads": 2, "layers": 1, "queries": 8}
WORDS = (
    "experiment=detection",
    "data.pictures=40",
    "data.val_fraction=0.2",
    "data.test_fraction=0.2",
    "data.batch_size=8",
    "model.widths=[4,8,8]",
    "model.depths=[1,1,1]",
    "model.width=16",
    "model.heads=2",
    "model.layers=1",
    "model.queries=8",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
)
LOOKS = (
    "interpretability.attribution.samples=2",
    "interpretability.attribution.max_steps=8",
    "interpretability.attribution.removals=2",
    "interpretability.attribution.random_orders=1",
    "interpretability.attribution.pictures=2",
    "stability.noise.levels=[0.1]",
)
ALONE = ("compute=none", "interpretability=none", "stability=none")


def task(**options):
    seed_everything(0, verbose=False)
    return Detection(model=RTDETR(**TINY), optimizer=partial(torch.optim.Adam, lr=1e-3), classes=3, **options)


@pytest.fixture(scope="module")
def batch():
    return next(iter(Shapes(pictures=20, batch_size=6).val_dataloader()))[:2]


@pytest.fixture(scope="module")
def several():
    return next(iter(Shapes(pictures=20, batch_size=6).train_dataloader()))


def one(batch, row):
    return batch[0][row : row + 1], batch[1][row : row + 1]


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_pictures_alone(several, training):
    made = task().train(training)
    alone = torch.cat([made.example_losses(one(several, row)) for row in range(6)])
    torch.testing.assert_close(made.example_losses(several), alone, rtol=1e-4, atol=1e-4)
    made.log = lambda *_, **__: None
    torch.testing.assert_close(made.training_step(several, 0), alone.mean(), rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_batch_is_the_mean_of_the_gradients_of_its_pictures_alone(several):
    made = task().train()
    weights = list(made.parameters())
    whole = torch.autograd.grad(made.example_losses(several).mean(), weights)
    singles = [torch.autograd.grad(made.example_losses(one(several, row)).mean(), weights) for row in range(6)]
    for place, gradient in enumerate(whole):
        mean = torch.stack([single[place] for single in singles]).mean(dim=0)
        torch.testing.assert_close(gradient, mean, rtol=1e-3, atol=1e-4)


def test_any_model_that_gives_boxes_will_do(several):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 5 * 7)

        def forward(self, pictures):
            raw = self.layer(pictures.mean(dim=(2, 3))).unflatten(1, (5, 7))
            return torch.cat([raw[..., :3], raw[..., 3:].sigmoid()], dim=-1)

    made = Detection(model=Plain(), optimizer=torch.optim.Adam, classes=3)
    assert made.example_losses(several).shape == (6,)
    assert made.scoring.losses(made(several[0]), several[1]).tolist() == pytest.approx(
        made.example_losses(several).tolist()
    )


def test_more_objects_than_queries_are_refused(several):
    crowded = torch.full((6, 9, 5), float(IGNORED))
    with pytest.raises(Refused, match="9 objects, and the model finds 8 at most") as caught:
        task().example_losses((several[0], crowded))
    assert caught.value.problems[0].fix == "model.queries=9"


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_a_certainty_out_of_range_is_refused(keep):
    with pytest.raises(Refused, match=r"task\.keep") as caught:
        task(keep=keep)
    assert caught.value.problems[0].fix == "task.keep=0.5"


def test_it_logs_a_loss_once_an_epoch():
    made = task()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(made, Shapes(pictures=20, batch_size=8))
    assert {"train_loss", "val_loss"} <= {*trainer.callback_metrics}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("plain"))
        return steelyard.run(*WORDS, *LOOKS)


def values(card, start):
    return {row.name.removeprefix(start): row for row in card.measurements() if row.name.startswith(start)}


def test_the_task_says_how_good_it_is(plain):
    rows = [row for row in plain.measurements() if row.name.startswith("task.")]
    names = [row.name for row in rows]
    assert names == [
        "task.map50",
        "task.coco_ap",
        "task.class_ap",
        "task.class_ap",
        "task.class_ap",
        "task.f1",
        "task.train_f1",
        "task.loss",
    ]
    assert [row.at.get("class") for row in rows if row.name == "task.class_ap"] == ["ellipse", "rectangle", "triangle"]
    assert all(row.meaning and row.split for row in rows)


@pytest.mark.parametrize("start", ["compute.cost.", "privacy.membership.", "stability.noise."])
def test_the_plugins_measure_it(plain, start):
    found = values(plain, start)
    assert found
    assert not [row for row in found.values() if row.status == "failed"]


def test_attribution_explains_it(plain):
    found = values(plain, "interpretability.attribution.")
    assert not [row for row in found.values() if row.status == "failed"]
    assert found["converged"].count == 2


def test_it_is_trained_privately_by_the_fast_engine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = steelyard.run(*WORDS, *ALONE, "privacy=dp_sgd", "optimizer=sgd", "scheduler=none")
    found = values(card, "privacy.dp_sgd.")
    assert 0 < found["epsilon"].value <= 8
    assert any("hooks" in row.note for row in found.values())


def test_batch_norm_is_refused_where_training_is_private(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match="BatchNorm2d: it mixes the examples") as caught:
        steelyard.run(*WORDS, *ALONE, "model.norm=batch", "privacy=dp_sgd")
    assert {problem.fix for problem in caught.value.problems if problem.level == "error"} == {"model.norm=group"}


@pytest.mark.slow
def test_the_experiment_finds_the_shapes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = steelyard.run("experiment=detection", "interpretability=none", "trainer.enable_progress_bar=false")
    assert values(card, "task.")["map50"].value >= 0.9
