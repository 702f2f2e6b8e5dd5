"""Answers are explained token by token, as a matrix output x input."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from planted import END, PLANTED, VOCABULARY, Mapped, answers, grown
from small_runs import digits, digits_task, frozen
from steelyard.adapters import IGNORED, TokenScoring
from steelyard.adapters.text import TextAdapter
from steelyard.measurement import Picture
from steelyard.models.causal import Causal
from steelyard.runs import Run
from steelyard.tasks.language_model import LanguageModel
from steelyard_interpretability import Attribution
from steelyard_interpretability._answers import PLACES, counted, token_by_token
from steelyard_interpretability._asking import asked_of
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._explain import study
from steelyard_interpretability._safe import explaining
from steelyard_interpretability._samples import collect, some
from steelyard_interpretability.methods.question import per_unit
from steelyard_interpretability.methods.registry import explain

PLUGIN = Attribution(methods=("input_x_gradient", "ablation"), samples=2, pictures=3, removals=2, random_orders=1)


def writer() -> Run:
    return grown(PLANTED["sequence"], seed=0, trained=False, count=40)[0]


def matrix(run: Run, method: str, places: list[int], *, row: int = 0) -> Tensor:
    with explaining(run.task):
        question = token_by_token(run, some(run, collect(run, count=2, baseline="mean"), [row]), places)
        return per_unit(explain(method, question), question)


def foretelling() -> Run:
    """A causal language model over the planted texts."""
    model = Causal(
        **{"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": END},
        max_length=16,
        width=16,
        layers=1,
        heads=2,
        dropout=0.0,
    )
    batch = answers(12, 0)[0]
    texts = {**batch, "labels": torch.cat([batch["input_ids"][:, 1:], torch.full((12, 1), IGNORED)], dim=1)}
    task = LanguageModel(model=model, optimizer=partial(torch.optim.SGD, lr=0.1))
    return frozen(task, Mapped(texts), adapter=TextAdapter(scoring=TokenScoring(), bounds=None))


@pytest.mark.parametrize("method", ["input_x_gradient", "ablation"])
def test_the_rows_of_the_tokens_have_the_explanation_of_the_answer_for_their_mean(method: str) -> None:
    run = writer()
    with explaining(run.task):
        whole = asked_of(run, some(run, collect(run, count=2, baseline="mean"), [1]))
        question = whole.pose(run.task, whole.decisions)
        right = per_unit(explain(method, question), question)[0]
    found = matrix(run, method, [0, 1, 2], row=1)
    assert found.shape == (3, 10)
    torch.testing.assert_close(found.mean(dim=0), right, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("method", ["integrated_gradients", "ablation"])
def test_a_token_rests_on_none_that_comes_after_it_in_a_causal_model(method: str) -> None:
    torch.manual_seed(0)
    found = matrix(foretelling(), method, [*range(9)])
    later = torch.ones(9, 10).triu(diagonal=1).bool()
    assert float(found[later].abs().max()) == 0
    assert float(found[~later].abs().min()) > 0


def test_a_run_draws_the_answers_token_by_token_and_says_what_they_rest_on() -> None:
    torch.manual_seed(0)
    for run, tokens in ((writer(), 3), (foretelling(), 9)):
        found = study(run, PLUGIN)
        assert [len(answer.places) for answer in found.answers] == [tokens, tokens]
        drawn = {item.name: item for item in AttributionAttachment(PLUGIN).measure(run) if isinstance(item, Picture)}
        picture = drawn["answers"]
        assert picture.png.startswith(b"\x89PNG")
        assert "by input x gradient: output x input" in picture.title
        assert picture.alt.count(" rests most on ") == 2 * tokens
        assert picture.split == "val"


def test_a_class_has_no_tokens_and_no_such_picture() -> None:
    torch.manual_seed(0)
    plugin = Attribution(samples=2, pictures=2, removals=2, random_orders=1)
    items = [*AttributionAttachment(plugin).measure(frozen(digits_task(), digits()))]
    assert [item.name for item in items if isinstance(item, Picture)] == ["attributions"]


@pytest.mark.parametrize(("effort", "tokens"), [(1.0, PLACES), (0.5, PLACES // 2), (0.125, 3)])
def test_of_long_answers_the_first_tokens_are_explained_fewer_where_time_is_short(effort: float, tokens: int) -> None:
    decisions: Any = torch.tensor([5, IGNORED, *[7] * 60])
    places = counted(decisions, effort=effort)
    assert places.tolist() == [0, *range(2, tokens + 1)]
