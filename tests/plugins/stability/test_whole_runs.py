"""What whole runs say of the stability of their output."""

from pathlib import Path

import pytest

import steelyard
from steelyard.measurement import Status
from steelyard.scorecard import Stability

QUIET = ("data=digits", "trainer.enable_progress_bar=false", "compute=none", "privacy=none", "interpretability=none")
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
