import pytest
import torch

from steelyard.data.tokens import IGNORED
from steelyard.models import Causal
from steelyard.models.writer import Writer

KINDS = ("gpt_neox", "gpt2")
SIZES = {"vocab_size": 12, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "max_length": 20}


def learnt(kind):
    """Counts on from where it is, up to 11, and then ends."""
    torch.manual_seed(0)
    model = Causal(**SIZES, kind=kind, width=32, layers=1, heads=2, dropout=0.0)
    steps = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows = torch.tensor([[2, *range(first, 12), 3, *[0] * (first - 4)] for first in range(4, 11)])
    whole = {"input_ids": rows[:, :-1], "attention_mask": (rows[:, :-1] != 0).long()}
    wanted = rows[:, 1:].masked_fill(rows[:, 1:] == 0, IGNORED)
    for _ in range(100):
        loss = torch.nn.functional.cross_entropy(model(whole).transpose(1, 2), wanted)
        steps.zero_grad()
        loss.backward()
        steps.step()
    return model.eval()


def texts(*rows):
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 3])
def test_texts_of_different_lengths_go_on_as_each_does_alone(kind, beams):
    model = learnt(kind)
    assert isinstance(model, Writer)
    starts = [[2, 5, 6, 7], [2, 9], [2, 4, 5]]
    together = model.write(texts(*starts), beams=beams, most=10).tolist()
    alone = [model.write(texts(start), beams=beams, most=10)[0].tolist() for start in starts]
    said = [[token for token in row if token != IGNORED] for row in together]
    assert said == [[token for token in row if token != IGNORED] for row in alone]
    assert said == [[8, 9, 10, 11, 3], [10, 11, 3], [6, 7, 8, 9, 10, 11, 3]]


@pytest.mark.parametrize("kind", KINDS)
def test_it_stops_after_so_many_tokens(kind):
    assert learnt(kind).write(texts([2, 4]), beams=1, most=3).tolist() == [[5, 6, 7]]
