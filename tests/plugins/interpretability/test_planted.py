"""The default methods find what was planted, in every modality, and find nothing in a model that has learnt nothing."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from planted import PLANTED, Examples, Landing, Planted, grown, landings, weighing
from steelyard.runs import Run
from steelyard_interpretability._answers import token_by_token
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import collect, others
from steelyard_interpretability.methods.question import per_unit
from steelyard_interpretability.methods.registry import explain

METHODS = {
    "image": ("integrated_gradients", "occlusion"),
    "table": ("integrated_gradients", "ablation"),
    "text": ("integrated_gradients", "ablation"),
    "audio": ("integrated_gradients", "ablation"),
    "sequence": ("integrated_gradients", "ablation"),
}
POINTING = {"image": 0.95, "table": 0.95, "text": 0.98, "audio": 0.98, "sequence": 0.98}
"""Of the better of the two methods: the most important unit is one that decides."""
RECALL = {"image": 0.7, "table": 0.8, "text": 0.98, "audio": 0.98, "sequence": 0.98}
MASS = {"image": 5, "table": 3, "text": 5, "audio": 5, "sequence": 3}
"""Times chance."""
ANSWERED = 40
"""Examples whose answer is explained token by token."""


def learnt(planted: Planted, modality: str, *, seed: int) -> dict[str, Landing]:
    found = landings(planted, methods=METHODS[modality], seed=seed, trained=True)
    for landing in found.values():
        assert landing.accuracy > 0.85
        assert landing.mass > MASS[modality] * landing.chance
        assert landing.decoy < 1.2 * landing.chance
        assert landing.pointing > 5 * landing.decoyed
    return found


def unlearnt(planted: Planted, modality: str, *, seed: int) -> None:
    for landing in landings(planted, methods=METHODS[modality], seed=seed, trained=False).values():
        assert landing.mass <= landing.chance + 0.05


@pytest.mark.parametrize("modality", ["text", "table"])
def test_what_decides_is_found_and_a_decoy_as_strong_is_not(modality: str) -> None:
    planted = PLANTED[modality]
    planted = (
        planted if modality == "text" else replace(planted, count=1500, epochs=10, task=partial(weighing, rate=0.005))
    )
    found = learnt(planted, modality, seed=0)
    assert max(landing.pointing for landing in found.values()) >= 0.95
    unlearnt(planted, modality, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("modality", [*PLANTED])
def test_it_is_found_as_often_as_was_promised(modality: str, seed: int) -> None:
    found = learnt(PLANTED[modality], modality, seed=seed)
    assert max(landing.pointing for landing in found.values()) >= POINTING[modality]
    unlearnt(PLANTED[modality], modality, seed=seed)
    assert max(landing.recall for landing in found.values()) >= RECALL[modality]


def traced(run: Run, held: Examples) -> float:
    """How often each of the two told words is traced to its own place in the text, by the better of the two methods."""
    # In the order of their places, as they are told.
    right = torch.stack([row.nonzero()[:, 0] for row in held[1][:ANSWERED]])
    found = torch.zeros(2, ANSWERED, 2, dtype=torch.int64)
    with explaining(run.task):
        samples = collect(run, count=2, baseline="mean")
        for number in range(ANSWERED):
            question = token_by_token(run, others(run, samples, [number]), [0, 1])
            for place, method in enumerate(METHODS["sequence"]):
                found[place, number] = per_unit(explain(method, question), question).argmax(dim=1)
    return float((found == right).double().mean(dim=(1, 2)).max())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_word_of_an_answer_is_traced_to_its_own_place_in_the_text(seed: int) -> None:
    assert traced(*grown(PLANTED["sequence"], seed=seed, trained=True)) >= 0.98
    # By chance one of ten; 80 draws scatter by 0.034.
    assert traced(*grown(PLANTED["sequence"], seed=seed, trained=False)) <= 0.2


@pytest.mark.slow
def test_the_answer_follows_the_words_that_were_planted_and_not_the_decoys() -> None:
    """What is called the truth is the truth: another word in its place is told, and another decoy changes nothing."""
    run, (batch, truth, decoy) = grown(PLANTED["sequence"], seed=1, trained=True)
    told, rows = batch["labels"][:, 0], torch.arange(len(truth))
    first = truth.double().argmax(dim=1)
    for where, changes in ((first, True), (decoy.double().argmax(dim=1), False)):
        tokens = batch["input_ids"].clone()
        # Of six words of a kind the third after it: never the other one that is told, by the choice of rows below.
        low = 3 if changes else 9
        tokens[rows, where] = low + (tokens[rows, where] - low + 3) % 6
        fair = (tokens[rows, where] != batch["labels"][:, 1]) if changes else torch.ones_like(told, dtype=torch.bool)
        with torch.no_grad():
            said = run.adapter.outputs(run.task, {**batch, "input_ids": tokens}).argmax(dim=2)[:, 0]
        wanted = tokens[rows, where] if changes else told
        assert float((said == wanted)[fair].double().mean()) >= 0.98
