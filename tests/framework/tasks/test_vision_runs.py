"""Pictures and videos through whole runs, weighed by every first plugin."""

import json
from pathlib import Path

import pytest

import steelyard
from steelyard.cli import main
from steelyard.measurement import Status
from steelyard.problem import Refused
from steelyard.scorecard import Scorecard

EXPLAIN = ("interpretability.attribution.samples=6", "interpretability.attribution.pictures=2")
QUICK = ("trainer.max_epochs=1", "trainer.enable_progress_bar=false", *EXPLAIN)
VIDEO = (
    "experiment=video",
    "data.videos=90",
    "data.batch_size=30",
    "model.width=16",
    "model.layers=1",
    "model.heads=2",
    *QUICK,
)
RESNET = ("model=resnet", "model.widths=[8,16]", "model.depths=[1,1]", "data=digits", "data.limit=90", *QUICK)
PRIVATE = ("privacy=[dp_sgd,membership]", "optimizer=sgd", "scheduler=none")
PLUGINS = {"compute.cost", "interpretability.attribution", "privacy.membership", "stability.noise"}


def weighed(workdir: Path, *words: str) -> Scorecard:
    """A run whose sections all came out, and which left the picture of its attributions."""
    scorecard = steelyard.run(*words)
    assert {section.key: section.status for section in scorecard.sections if section.status is Status.FAILED} == {}
    assert {section.key for section in scorecard.sections} >= PLUGINS
    (stored,) = workdir.glob("outputs/*/scorecard.json")
    assert "attributions" in json.dumps(json.loads(stored.read_text()))
    assert scorecard["stability.noise.worst_flips"].count
    assert scorecard["interpretability.attribution.converged"].value is not None
    return scorecard


def test_a_video_is_weighed_on_all_four_challenges(workdir: Path) -> None:
    scorecard = weighed(workdir, *VIDEO)
    assert scorecard["task.accuracy"].count == 18
    # 8 frames of 8 by 8 blocks.
    assert "512 units" in scorecard["interpretability.attribution.deletion_gap"].note


@pytest.mark.slow
def test_the_checkpoint_of_a_video_model_is_explained_and_judged(workdir: Path) -> None:
    steelyard.run(*VIDEO[:-2], "interpretability=none", "stability=none", "privacy=none")
    (checkpoint,) = workdir.glob("outputs/*/checkpoints/last.ckpt")
    few = ("interpretability.faithfulness.samples=4", "interpretability.faithfulness.pictures=1")
    assert main(["weigh", f"ckpt={checkpoint}", *VIDEO, "interpretability=standard", "privacy=none", *few]) == 0
    (stored,) = [place.parent / "scorecard.json" for place in workdir.glob("outputs/*/interpretability")]
    sections = {part["key"]: part for part in json.loads(stored.read_text())["sections"]}
    assert {key: part["status"] for key, part in sections.items() if "interpretability" in key} == {
        f"interpretability.{kind}": "measured" for kind in ("attribution", "faithfulness")
    }
    rows = [row for part in sections.values() for row in part["measurements"]]
    (complete,) = [row for row in rows if row["name"] == "interpretability.attribution.completeness_error"]
    assert complete["value"] <= 0.05
    pictures = [path.name for path in stored.parent.glob("interpretability/*/*.png")]
    assert {"attributions.png", "trust_integrated_gradients.png"} <= {*pictures}


@pytest.mark.slow
def test_a_video_is_learned_in_private(workdir: Path) -> None:
    scorecard = weighed(workdir, *VIDEO, *PRIVATE)
    assert scorecard["privacy.dp_sgd.epsilon"].value == pytest.approx(8, abs=0.01)


@pytest.mark.slow
def test_a_resnet_is_learned_in_private(workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    scorecard = weighed(workdir, *RESNET, *PRIVATE, "model.norm=group", "model.flip=0.5")
    assert scorecard["privacy.dp_sgd.epsilon"].value == pytest.approx(8, abs=0.01)
    assert "one example at a time" not in caplog.text


def test_a_resnet_that_mixes_the_examples_is_refused_in_private() -> None:
    with pytest.raises(Refused, match="BatchNorm2d: it mixes the examples") as caught:
        steelyard.run(*RESNET, *PRIVATE)
    assert {problem.fix for problem in caught.value.problems if problem.level == "error"} == {"model.norm=group"}


LONG = [
    ("image_classification", 0.91),
    ("mlp_one_cycle", 0.88),
    ("source_recipe", 0.87),
    ("video", 0.9),
]


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "least"), LONG)
def test_the_stated_accuracy_is_reached(workdir: Path, experiment: str, least: float) -> None:
    if experiment != "video" and not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    accuracy = steelyard.run(f"experiment={experiment}", "trainer.enable_progress_bar=false")["task.accuracy"].value
    assert accuracy is not None
    assert accuracy >= least
