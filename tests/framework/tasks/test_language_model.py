from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchmetrics.text import Perplexity

from small_runs import frozen
from steelyard.adapters import TokenScoring, adapter_for
from steelyard.data import Stories
from steelyard.models import Causal
from steelyard.tasks import LanguageModel
from steelyard.tasks.bigram import Bigram


def made(**options):
    data = Stories(count=120, tokens="words", max_length=20, batch_size=16, **options)
    data.setup("fit")
    torch.manual_seed(0)
    model = Causal(**data.sizes, width=16, heads=2, layers=1)
    return LanguageModel(model=model, optimizer=partial(torch.optim.AdamW, lr=1e-3)), data


def test_the_loss_of_a_text_is_that_of_its_tokens_alone():
    task, data = made()
    batch = next(iter(data.test_dataloader()))
    logits, labels = task.eval()(batch), batch["labels"]
    losses = task.example_losses(batch)
    for row, (some, wanted) in enumerate(zip(logits, labels, strict=True)):
        torch.testing.assert_close(losses[row], cross_entropy(some[wanted >= 0], wanted[wanted >= 0]))
    alone = {key: value[:1] for key, value in batch.items()}
    torch.testing.assert_close(task.example_losses(alone), losses[:1])
    judged = task.judge(batch, learning=True)
    torch.testing.assert_close(judged.losses, losses)
    assert 0 <= float(judged.marks.min()) <= float(judged.marks.max()) <= 1


def test_the_label_of_a_token_is_the_next_one():
    _, data = made()
    batch = next(iter(data.test_dataloader()))
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    assert torch.equal(labels[:, :-1][mask[:, 1:] == 1], ids[:, 1:][mask[:, 1:] == 1])
    assert (labels[mask.cumsum(1) == mask.sum(1, keepdim=True)] == -100).all()


def test_perplexity_is_that_of_torchmetrics_and_has_an_interval():
    task, data = made()
    run = frozen(task, data, adapter=adapter_for("text", scoring=TokenScoring()))
    rows = {row.name: row for row in task.measure(run)}
    assert list(rows) == ["perplexity", "train_perplexity", "token_accuracy", "bigram_perplexity"]
    oracle = Perplexity(ignore_index=-100)
    for batch in data.test_dataloader():
        oracle.update(task(batch).detach(), batch["labels"])
    found = rows["perplexity"]
    assert found.value == pytest.approx(float(oracle.compute()), rel=1e-4)
    assert found.interval[0] < found.value < found.interval[1]
    assert (found.split, found.count, rows["train_perplexity"].split) == ("test", 12, "train")
    # The control knows the neighbours, and a model that has learnt nothing does not.
    assert 1 < rows["bigram_perplexity"].value < found.value


def test_the_bigram_model_is_a_distribution_and_the_formula():
    random = np.random.default_rng(0)
    before, after = (torch.from_numpy(random.integers(6, size=80)) for _ in range(2))
    model = Bigram.of(before, after, size=8)
    everything = torch.arange(8)
    for token in (0, 5, 7):
        chances = (-model.losses(torch.full((8,), token), everything)).exp()
        assert float(chances.sum()) == pytest.approx(1)
        assert (chances > 0).all()
    pairs = [*zip(before.tolist(), after.tolist(), strict=True)]
    v, w = pairs[0]
    once = sum(pairs.count(pair) == 1 for pair in set(pairs))
    twice = sum(pairs.count(pair) == 2 for pair in set(pairs))
    d, firsts = once / (once + 2 * twice), sum(one == v for one, _ in pairs)
    kinds = len({two for one, two in pairs if one == v})
    frequency = (after.tolist().count(w) + 1) / (80 + 8)
    wanted = max(pairs.count((v, w)) - d, 0) / firsts + d * kinds / firsts * frequency
    assert float((-model.losses(before[:1], after[:1])).exp()) == pytest.approx(wanted)


def test_it_takes_any_module():
    class Constant(nn.Module):
        def forward(self, batch):
            return torch.zeros(*batch["input_ids"].shape, 9)

    task = LanguageModel(model=Constant(), optimizer=partial(torch.optim.SGD, lr=0.1))
    batch = {"input_ids": torch.zeros(2, 3, dtype=torch.long), "labels": torch.tensor([[1, 2, -100], [8, -100, -100]])}
    torch.testing.assert_close(task.example_losses(batch), torch.full((2,), 9.0).log())
