"""What whole runs say of the stability of their output."""

import json
from pathlib import Path

import pytest

import steelyard
from steelyard.cli import main
from steelyard.measurement import Status
from steelyard.scorecard import Stability
from steelyard.sweep import compare

QUIET = ("data=digits", "trainer.enable_progress_bar=false", "compute=none", "privacy=none", "interpretability=none")
BARE = "compute=none privacy=none interpretability=none trainer.enable_progress_bar=false"
ATTACK = (
    "stability.adversarial.radii=[0.15]",
    "stability.adversarial.steps=5",
    "stability.adversarial.queries=10",
    "stability.adversarial.targets=1",
    "stability.adversarial.batch=64",
)


@pytest.mark.slow
def test_the_standard_bundle_weighs_more_examples_than_it_tests_the_attack_on(workdir: Path) -> None:
    card = steelyard.run(
        *QUIET,
        *ATTACK,
        "stability=standard",
        "stability.adversarial.attacks=[fgsm]",
        "stability.adversarial.examples=70",
        "stability.corruptions.examples=10",
        "stability.corruptions.severities=[5]",
        "stability.consistency.examples=10",
        "stability.outliers.examples=20",
        "stability.drift.permutations=39",
        "trainer.max_epochs=1",
    )

    sections = {section.key: section.status for section in card.sections if section.key.startswith("stability")}
    assert set(sections.values()) == {Status.MEASURED}
    assert {key.partition(".")[2] for key in sections} == {
        "adversarial",
        "calibration",
        "consistency",
        "corruptions",
        "drift",
        "outliers",
    }


def test_a_model_that_hides_its_gradient_never_counts_as_stable(workdir: Path) -> None:
    card = steelyard.run(
        *QUIET,
        *ATTACK,
        "model=custom",
        "model._target_=helpers.stepped.Stepped",
        "stability=adversarial",
        "stability.adversarial.examples=64",
        "trainer.max_epochs=8",
        "require.stability.adversarial.worst_flips.max=0.99",
    )

    assert card["stability.adversarial.worst_flips"].status is Status.INVALID
    assert card.stability is Stability.INVALID


@pytest.mark.slow
def test_an_adversarially_trained_model_is_stable_where_its_plain_twin_is_not(workdir: Path) -> None:
    words = (
        *QUIET,
        *ATTACK,
        "optimizer.lr=0.01",
        "trainer.max_epochs=8",
        "stability.adversarial.examples=256",
        "stability.adversarial.masking=false",
        "require.stability.adversarial.worst_flips.max=0.7",
    )
    training = ("stability.adversarial_training.radius=0.15", "stability.adversarial_training.steps=3")

    plain = steelyard.run(*words, "stability=adversarial")
    attacked = steelyard.run(*words, "stability=[adversarial,adversarial_training]", *training)

    assert (plain.stability, attacked.stability) == (Stability.UNSTABLE, Stability.STABLE)
    # More stable beyond what the few examples leave open.
    (_, most), (least, _) = (
        card["stability.adversarial.worst_flips"].interval or (0.0, 1.0) for card in (attacked, plain)
    )
    assert most < least


@pytest.mark.slow
def test_two_models_half_a_point_apart_on_1000_examples_stay_inconclusive(workdir: Path) -> None:
    words = "data=custom data._target_=helpers.halfway.Rows model=custom model._target_=helpers.halfway.Wrong"
    words += f" +model.which=0,1 task.classes=2 seed=0 stability=seeds optimizer.lr=1e-6 {BARE}"

    assert main(["run", "-m", *words.split(), "trainer.max_epochs=1"]) == 0
    (sweep,) = (workdir / "outputs").iterdir()

    summary = compare([sweep], to=workdir)

    cards = [trial.scorecard for trial in summary.trials]
    assert [card["task.accuracy"].value for card in cards if card] == pytest.approx([0.905, 0.9])
    (seeds,) = summary.said
    (row,) = [row for row in seeds.measurements if row.name == "stability.seeds.difference"]
    assert row.note.startswith("inconclusive: 65 examples right in the first alone, 60 in the second alone")
    assert "robust" not in summary.page.read_text()


def test_symmetries_named_on_the_command_line_are_asked_about(workdir: Path) -> None:
    words = "data=digits stability=consistency stability.consistency.examples=64 trainer.max_epochs=3"
    named = "stability.consistency.symmetries=[half_turn,mine.dimmed]"
    (workdir / "mine.py").write_text("def dimmed(inputs):\n    return 0.9 * inputs\n")

    assert main(["run", *words.split(), *BARE.split(), named]) == 0

    (stored,) = workdir.glob("outputs/*/scorecard.json")
    (section,) = [one for one in json.loads(stored.read_text())["sections"] if one["key"] == "stability.consistency"]
    changed = {row["at"]["way"]: row for row in section["measurements"]}
    # Upside down and mirrored, digits are others; darker, they are the same.
    assert changed["half_turn"]["interval"][0] > 0.3
    assert changed["mine.dimmed"]["value"] < 0.1
    assert changed["mine.dimmed"]["count"] == 64
    assert "symmetry mine.dimmed" in changed["mine.dimmed"]["meaning"]
