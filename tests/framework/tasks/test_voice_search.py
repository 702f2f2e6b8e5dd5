from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR

from small_runs import Points, frozen
from steelyard.adapters import Facts, adapter_for
from steelyard.models import SoundEmbedding
from steelyard.problem import Refused
from steelyard.tasks import VoiceSearch
from steelyard.tasks.voice_search import ranks

ADAM = partial(torch.optim.Adam, lr=0.01)


class Identity(nn.Module):
    width = 6

    def forward(self, inputs):
        return inputs


@pytest.mark.parametrize("voices", [None, 4])
def test_places_are_those_of_torchmetrics(voices):
    random = torch.Generator().manual_seed(0)
    vectors = normalize(torch.randn(40, 6, generator=random), dim=1)
    targets = torch.randint(8, (40,), generator=random)
    who = torch.arange(40) if voices is None else torch.arange(40) % voices
    places, nearest = ranks(vectors, targets, voices=None if voices is None else who)
    queries, documents = (who[:, None] != who).nonzero(as_tuple=True)
    # torchmetrics counts what is not above 0 as not found.
    likeness, right = (2 + vectors @ vectors.T)[queries, documents], targets[queries] == targets[documents]
    # Nobody is left out: torchmetrics counts a query without an answer as 0.
    answered = places > 0
    assert bool(answered.all())
    for top in (1, 3):
        wanted = RetrievalHitRate(top_k=top)(likeness, right, indexes=queries)
        assert float((places <= top).double().mean()) == pytest.approx(float(wanted))
    wanted = RetrievalMRR()(likeness, right, indexes=queries)
    assert float((1 / places.double()).mean()) == pytest.approx(float(wanted))
    for query, row in enumerate(nearest):
        others = (vectors[query] @ vectors.T).masked_fill(who == who[query], -2)
        assert row.tolist() == others.argsort(descending=True)[:3].tolist()


def test_a_tie_is_not_taken_for_a_hit_and_a_word_nobody_else_says_has_no_place():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    places, _ = ranks(vectors, torch.tensor([0, 0, 1, 2]), voices=None)
    assert places.tolist() == [2, 2, 0, 0]


def task(model=None, **options):
    torch.manual_seed(0)
    return VoiceSearch(**{"model": model or Identity(), "optimizer": ADAM, "classes": 3, **options})


def test_the_loss_of_an_example_does_not_see_its_neighbours():
    sound = SoundEmbedding(input_shape=(4000,), sample_rate=8000, channels=(4, 8))
    made = task(sound)
    samples, targets = torch.randn(3, 4000), torch.tensor([0, 1, 2])
    losses = made.example_losses((samples, targets))
    for at in range(3):
        torch.testing.assert_close(made.example_losses((samples[at : at + 1], targets[at : at + 1]))[0], losses[at])
    torch.testing.assert_close(made.embed(samples).norm(dim=1), torch.ones(3))
    assert made(samples).shape == (3, 3)


def test_searching_is_measured_with_intervals():
    inputs = normalize(torch.tensor([[3.0, 0, 0, 0, 0, 0.1]] * 4 + [[0, 2.0, 0, 0, 0, 0]] * 4), dim=1)
    targets = torch.tensor([0] * 4 + [1] * 4)
    made = task()
    adapter = adapter_for("audio", facts=Facts(names=("no", "yes")))
    found = {item.name: item for item in made.measure(frozen(made, Points(inputs, targets), adapter=adapter))}
    assert {*found} == {"recall_at_1", "recall_at_5", "mrr", "accuracy", "queries"}
    for name in ("recall_at_1", "recall_at_5", "mrr"):
        assert found[name].value == 1
        assert found[name].count == 8
    assert found["recall_at_1"].interval[0] < 1
    assert found["queries"].rows[0] == ("no", "no, no, no")
    assert found["queries"].rows[-1] == ("yes", "yes, yes, yes")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": nn.Linear(2, 2)}, "says the `width`"),
        ({"scale": 0.0}, "task.scale is 0"),
        ({"top": 1}, "task.top is 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(options, said):
    with pytest.raises(Refused, match=said):
        task(**options)
