"""The first plugins of all four challenges on answers that are texts."""

import pytest

import steelyard
from steelyard.measurement import Status

TINY = (
    *(
        "data.limit=40",
        "data.batch_size=16",
        "model.width=16",
        "model.layers=1",
        "model.heads=2",
        "trainer.max_epochs=1",
    ),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "checkpoints=none", "task.written=10"),
    *("task.beams=2", "~require.task"),
)
QUICK = (
    *("interpretability.attribution.samples=6", "interpretability.attribution.max_steps=16"),
    *("interpretability.attribution.random_orders=2", "stability.noise.levels=[0.5]"),
)
SECTIONS = {"task", "compute.cost", "privacy.membership", "interpretability.attribution", "stability.noise"}


def weighed(*words):
    return steelyard.run(*TINY, *words)


def rows(card):
    return {row.name: row for section in card.sections for row in section.measurements}


@pytest.mark.parametrize(
    ("experiment", "model", "headline"),
    [pytest.param("translation", "bart", "bleu", marks=pytest.mark.slow), ("summarisation", "t5", "rouge_l")],
)
def test_all_of_them_measure(workdir, experiment, model, headline):
    card = weighed(f"experiment={experiment}", f"model={model}", *QUICK)
    assert {section.key for section in card.sections} == SECTIONS
    assert {section.key: section.error for section in card.sections if section.error} == {}
    found = rows(card)
    assert next(iter(found)) == f"task.{headline}"
    flips = found["stability.noise.worst_flips"]
    assert flips.count == 40
    assert found["interpretability.attribution.deletion_area"].count == 6
    assert found["interpretability.attribution.converged"].value is not None
    assert found["privacy.membership.memoriser_auc"].interval[0] > 0.5
    assert found["compute.cost.flops_per_example"].value > 0
    artefacts = {artefact.path: artefact for section in card.sections for artefact in section.artefacts}
    assert "task/written.csv" in artefacts
    assert "truth" in artefacts["interpretability/attribution/attributions.png"].alt


@pytest.mark.parametrize(
    ("experiment", "model"),
    [pytest.param("translation", "t5", marks=pytest.mark.slow), ("summarisation", "bart")],
)
def test_private_training_keeps_its_promise(workdir, experiment, model):
    card = weighed(
        f"experiment={experiment}",
        f"model={model}",
        "compute=none",
        "privacy=[dp_sgd]",
        "privacy.dp_sgd.target_epsilon=8",
        "interpretability=none",
        "stability=none",
        "data.limit=24",
    )
    assert {section.key: section.error for section in card.sections if section.error} == {}
    epsilon = rows(card)["privacy.dp_sgd.epsilon"]
    assert epsilon.status is Status.MEASURED
    assert 0 < epsilon.value <= 8
