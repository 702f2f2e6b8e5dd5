import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch import nn
from torch.nn.functional import cross_entropy

from small_runs import frozen, train
from steelyard.adapters import IGNORED, Facts, TokenScoring, adapter_for
from steelyard.data import Translation
from steelyard.measurement import Better, Measurement, Table
from steelyard.models import MLP, EncoderDecoder
from steelyard.problem import Refused
from steelyard.tasks import Measured, SequenceToSequence
from steelyard.tasks.sequence_to_sequence import same_letters, token_losses
from steelyard.tasks.written import TextSource, spread


def translation(**options):
    made = Translation(**{"count": 200, "tokens": "words", "batch_size": 16, "max_length": 16, **options})
    made.setup("fit")
    return made


def task(data, model=None, **options):
    model = model or EncoderDecoder(**data.sizes, width=16, layers=1, heads=2)
    return SequenceToSequence(
        **{
            "model": model,
            "optimizer": partial(torch.optim.AdamW, lr=1e-3),
            "max_length": data.max_length,
            "beams": 2,
            **options,
        }
    )


def run_of(made, data, **others):
    facts = Facts(decode=data.decode, spell=data.spell)
    return frozen(made, data, adapter=adapter_for("text", facts=facts, scoring=made.scoring), **others)


def said(made, run):
    return {row.name if isinstance(row, Measurement) else row.title: row for row in made.measure(run)}


@pytest.fixture(scope="module")
def data():
    return translation()


@pytest.fixture(scope="module")
def spelt():
    """In pieces of words, of which every answer can be made."""
    return translation(tokens="pieces", max_length=64)


class Knows(nn.Module):
    """Writes what it was told to, and gives every right token a probability of one half, nearly."""

    def __init__(self, data, *, answers=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answers, self.size, self.asked = answers, data.sizes["vocab_size"], []

    def embed(self, tokens):
        return tokens[:, :, None].float()

    def forward(self, batch):
        labels = batch["labels"].clamp(min=0)
        # As likely as all others together.
        return self.weight + math.log(self.size - 1) * nn.functional.one_hot(labels, self.size)

    def write(self, batch, *, beams, most):
        self.asked.append((len(batch["labels"]), beams, most))
        return batch["labels"] if self.answers is None else self.answers(batch["labels"])


def test_the_loss_of_an_example_is_the_mean_over_its_tokens():
    logits = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 2, 3, 4], [5, 6, IGNORED, IGNORED], [IGNORED] * 4])
    losses = token_losses(logits, labels)
    assert losses[0] == pytest.approx(float(cross_entropy(logits[0], labels[0])))
    assert losses[1] == pytest.approx(float(cross_entropy(logits[1, :2], labels[1, :2])))
    assert losses[2] == 0
    torch.testing.assert_close(losses, TokenScoring().losses(logits, labels))


def test_smoothing_spreads_probability_over_the_vocabulary_while_learning_only(data):
    made = task(data, label_smoothing=0.3).eval()
    batch = next(iter(data.val_dataloader()))
    logits, labels = made(batch), batch["labels"]
    logs = logits.log_softmax(dim=2)
    wanted = torch.full_like(logits, 0.3 / logits.shape[2])
    wanted.scatter_add_(2, labels.clamp(min=0)[:, :, None], torch.full((*labels.shape, 1), 0.7))
    counted = labels != IGNORED
    by_hand = (-(wanted * logs).sum(dim=2) * counted).sum(dim=1) / counted.sum(dim=1)
    torch.testing.assert_close(made.judge(batch, learning=True).losses, by_hand)
    torch.testing.assert_close(made.example_losses(batch), token_losses(logits, labels))


def test_the_loss_of_a_batch_is_the_mean_over_its_examples_alone(data):
    made = task(data).eval()
    batch = next(iter(data.train_dataloader()))
    alone = [made.training_step({name: part[row : row + 1] for name, part in batch.items()}, 0) for row in range(16)]
    torch.testing.assert_close(made.training_step(batch, 0), torch.stack(alone).mean())


def test_padding_gives_no_gradient_and_the_marks_are_shares_of_tokens(data):
    made = task(data, Knows(data))
    batch = next(iter(data.val_dataloader()))
    assert torch.equal(made.judge(batch, learning=False).marks, torch.ones(16))
    longer = {**batch, "labels": nn.functional.pad(batch["labels"], (0, 5), value=IGNORED)}
    torch.testing.assert_close(made.example_losses(longer), made.example_losses(batch))


def test_it_learns_and_logs_once_an_epoch(data):
    made = train(lambda: task(data), data)
    assert {"train_loss", "val_loss", "train_accuracy", "val_accuracy"} <= {*made.trainer.callback_metrics}
    assert isinstance(made, Measured)
    assert {name.partition(".")[0] for name in made.state_dict()} == {"model"}


def test_a_model_that_writes_the_right_answers_gets_everything(spelt):
    made = task(spelt, Knows(spelt), metrics=["bleu", "chrf", "rouge"], written=1000)
    found = said(made, run_of(made, spelt))
    assert found["token_accuracy"].value == found["train_token_accuracy"].value == found["exact_match"].value == 1
    assert found["loss"].value == pytest.approx(math.log(2), rel=1e-3)
    for name, most in {"bleu": 100, "chrf": 100, "rouge_l": 1, "rouge_1": 1, "rouge_2": 1}.items():
        assert found[name].value == pytest.approx(most)
        assert found[name].count == 20
    for name, most in {"copied_bleu": 10, "copied_chrf": 30, "copied_rouge_l": 0.2}.items():
        assert 0 <= found[name].value < most
    assert next(iter(found)) == "bleu"
    assert all(row.meaning for row in found.values() if isinstance(row, Measurement))


def test_words_that_the_model_does_not_know_count_against_it(data):
    """The truth is what was read: the tokens of the right answer lack what the training split does not hold."""
    known = {*" ".join(data.answers_of("train")).split()}
    unknown = sum(not {*answer.split()} <= known for answer in data.answers_of("test"))
    made = task(data, Knows(data), metrics=["bleu"])
    found = said(made, run_of(made, data))
    assert unknown > 0
    assert found["exact_match"].value <= 1 - unknown / 20
    assert found["bleu"].value < 100


def test_exact_match_counts_whole_answers(spelt):
    def half(labels):
        wrong = labels.clone()
        wrong[::2, 0] = 4 + (wrong[::2, 0] - 3) % 20
        return wrong

    made = task(spelt, Knows(spelt, answers=half), metrics=["rouge"])
    exact = said(made, run_of(made, spelt))["exact_match"]
    assert (exact.value, exact.better) == (0.5, Better.HIGHER)
    assert exact.interval[0] < 0.5 < exact.interval[1]


def test_letters_count_and_capitals_and_spaces_do_not():
    assert same_letters("Two dogs , one cat", "two dogs, one cat")
    assert not same_letters("two dogs", "two dog")


@pytest.mark.parametrize(("population", "most"), [(10, 4), (4, 10), (7, 7), (100, 1)])
def test_what_is_written_lies_spread_over_the_split(population, most):
    places = spread(population, most=most)
    assert len(places) == len({*places}) == min(population, most)
    assert places[0] == 0
    gaps = {later - sooner for sooner, later in pairwise(places)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_it_writes_as_many_as_asked_by_the_search_that_was_asked_for(data):
    model = Knows(data)
    made = task(data, model, beams=3, written=9, metrics=["bleu"])
    found = said(made, run_of(made, data))
    assert model.asked == [(9, 3, 16)]
    assert found["bleu"].count == found["exact_match"].count == 9
    assert found["bleu"].note.startswith("beam search, 3 beams, at most 16 tokens")
    assert "greedy search, 1 beam," in said(task(data, model, beams=1), run_of(made, data))["bleu"].note


def test_the_deadline_ends_the_writing_after_a_batch(data):
    made = task(data, Knows(data), metrics=["bleu"])
    found = said(made, run_of(made, data, deadline=0.0))
    assert found["bleu"].count == 16
    assert "the deadline left time for 16 of 20 examples" in found["bleu"].note


def test_the_report_shows_what_was_written_beside_what_is_right(data):
    made = task(data, Knows(data), shown=3)
    table = next(row for row in made.measure(run_of(made, data)) if isinstance(row, Table))
    assert table.split == "test"
    assert table.columns == ("text", "written", "right answer", "same")
    texts, answers = data.texts_of("test"), data.answers_of("test")
    assert [(row[0], row[2]) for row in table.rows] == [*zip(texts[:3], answers[:3], strict=True)]
    assert not any(isinstance(row, Table) for row in task(data, Knows(data), shown=0).measure(run_of(made, data)))


class Strangers(LightningDataModule):
    """Batches of tokens, and no word of what was read."""

    def __init__(self, data):
        super().__init__()
        self._data = data

    def test_dataloader(self):
        return self._data.test_dataloader()

    train_dataloader = val_dataloader = test_dataloader


def test_data_that_keep_no_texts_are_judged_by_their_tokens(data):
    stranger = Strangers(data)
    assert isinstance(data, TextSource)
    assert not isinstance(stranger, TextSource)
    made = task(data, Knows(data))
    adapter = adapter_for("text", facts=Facts(decode=data.decode), scoring=made.scoring)
    found = said(made, frozen(made, stranger, adapter=adapter))
    assert found["bleu"].value == pytest.approx(100)
    assert found["exact_match"].value == 1
    assert "copied_bleu" in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, r"task\.beams is 0"),
        ({"written": 0}, r"task\.written is 0"),
        ({"shown": -1}, r"task\.shown is -1"),
        ({"label_smoothing": 1.0}, r"task\.label_smoothing is 1"),
        ({"metrics": ["wer"]}, r"task\.metrics has 'wer'"),
        ({"l1": -1}, r"task\.l1 is -1"),
    ],
)
def test_options_out_of_range_are_refused(data, options, message):
    with pytest.raises(Refused, match=message) as caught:
        task(data, **options)
    assert caught.value.problems[0].fix.startswith("task.")


def test_a_model_that_cannot_write_is_refused(data):
    with pytest.raises(Refused, match="MLP cannot write an answer") as caught:
        task(data, MLP(input_shape=(4,), classes=2))
    assert caught.value.problems[0].fix == "model=bart"
