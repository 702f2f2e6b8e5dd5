"""Texts through a run's own tokeniser."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from small_runs import frozen, table_task
from steelyard.adapters import TextAdapter, adapter_for
from steelyard.adapters.factory import Facts
from steelyard.data import TextCSV
from steelyard.measurement import Measurement, Status, Table
from steelyard.problem import Refused
from steelyard.runs import Run
from steelyard_stability import Corruptions
from steelyard_stability.corruptions._attachment import CorruptionsAttachment

GOOD = ["a fine story", "it was fine", "truly great work", "great fun", "a great film", "fine and great"]
BAD = ["a dull story", "it was dull", "truly poor work", "poor fun", "a poor film", "dull and poor"]


class Words(nn.Module):
    """Counts good words against bad ones."""

    def __init__(self, data: TextCSV) -> None:
        super().__init__()
        values = torch.zeros(len(data.vocabulary))
        for words, value in ((("fine", "great"), 1.0), (("dull", "poor"), -1.0)):
            for word in words:
                values[data.vocabulary.encode([word])[0][1]] = value
        self.layer = nn.Embedding.from_pretrained(values[:, None])

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        score = (self.layer(batch["input_ids"])[..., 0] * batch["attention_mask"]).sum(dim=1) + 0.25
        return torch.stack([-score, score], dim=1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = tmp_path / "texts.csv"
    rows = [f"{text},{label}" for _ in range(4) for label, texts in ((1, GOOD), (0, BAD)) for text in texts]
    path.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    data = TextCSV(path=path, tokens="words", batch_size=4, test_fraction=0.5)
    data.setup("fit")
    facts = Facts(
        names=data.names, decode=data.decode, spell=data.spell, texts_of=data.texts_of, tokenise=data.tokenise
    )
    return frozen(table_task(Words(data)), data, adapter=adapter_for("text", facts=facts))


def test_texts_are_edited_and_read_again(run: Run) -> None:
    found = list(CorruptionsAttachment(Corruptions()).measure(run))

    rows = {(row.name, *row.at.values()): row for row in found if isinstance(row, Measurement)}
    assert rows["unchanged_mean",].status is Status.MEASURED
    # Case is forgotten by the tokeniser, and a frame says nothing.
    assert rows["unchanged", "case", 5].value == 1
    assert rows["unchanged", "template", 1].value == 1
    assert (rows["unchanged", "keyboard", 5].value or 0) < 1
    assert not any(key[1:2] == ("option_order",) for key in rows)
    (table,) = [item for item in found if isinstance(item, Table)]
    assert all(row[2] != row[3] and {row[4], row[5]} == {"0", "1"} for row in table.rows)


def test_texts_of_one_length_are_asked_about_together(run: Run) -> None:
    data = run.data
    assert isinstance(data, TextCSV)
    asked: list[Tensor] = []
    model = Words(data)
    model.register_forward_pre_hook(lambda _, given: asked.append(given[0]["attention_mask"]))
    texts = [text * (1 + place % 2 * 3) for place, text in enumerate(data.texts_of("test"))]
    adapter = replace(run.adapter, texts_of=lambda split: texts)

    plugin = Corruptions(kinds=("keyboard",), severities=(5,), shown=0)
    found = list(CorruptionsAttachment(plugin).measure(frozen(table_task(model), data, adapter=adapter)))

    # The last window of 16 texts, by four as the data makes its batches.
    lengths = [mask.sum(dim=1) for mask in asked[-4:]]
    assert all(int(one.max()) <= int(other.min()) + 1 for one, other in pairwise(lengths))
    assert int(lengths[-1].min()) > int(lengths[0].max())
    row = next(one for one in found if isinstance(one, Measurement) and one.name == "unchanged")
    assert row.count == len(texts)


def test_what_the_tokeniser_reads_as_before_is_not_asked_about_again(run: Run) -> None:
    asked: list[int] = []
    run.task.register_forward_pre_hook(lambda _, given: asked.append(len(given[0]["labels"])))

    found = list(CorruptionsAttachment(Corruptions(kinds=("case",), shown=0)).measure(run))

    rows = [row for row in found if isinstance(row, Measurement) and row.name == "unchanged"]
    # Once, and once more as a control; the tokeniser forgets case.
    assert sum(asked) == 2 * len(run.predict("test").marks)
    assert [row.value for row in rows] == [1.0] * 5


def test_a_text_as_it_was_read_is_the_batch_that_it_made(run: Run) -> None:
    adapter = run.adapter
    assert isinstance(adapter, TextAdapter)
    batch = next(iter(run.loader("test")))

    again = adapter.retold(batch, adapter.texts("test")[:4])

    assert all(torch.equal(again[key], batch[key]) for key in batch)
    assert again is not batch


def test_an_empty_text_and_a_long_one_become_a_batch(run: Run) -> None:
    adapter = run.adapter
    assert isinstance(adapter, TextAdapter)
    batch = next(iter(run.loader("test")))

    again = adapter.retold(batch, ["", "fine " * 500, "\U0001f600", "电影"])

    assert again["input_ids"].shape[1] == 64
    assert bool(again["attention_mask"].any(dim=1).all())
    assert again["input_ids"][1, -1] == again["input_ids"][0, 1]


def test_what_foretells_the_text_itself_is_skipped(run: Run) -> None:
    adapter = run.adapter
    assert isinstance(adapter, TextAdapter)
    tokens = torch.tensor([[2, 5, 6, 3], [2, 5, 3, 0]])
    labels = torch.tensor([[5, 6, 3, -100], [5, 3, -100, -100]])

    with pytest.raises(Refused, match="foretells the text itself"):
        adapter.retold({"input_ids": tokens, "attention_mask": tokens > 0, "labels": labels}, ["a", "b"])


def test_data_without_texts_is_skipped_with_a_reason(run: Run) -> None:
    bare = frozen(run.task, run.data, adapter=adapter_for("text"))

    rows = list(CorruptionsAttachment(Corruptions()).measure(bare))

    assert [row.status for row in rows if isinstance(row, Measurement)] == [Status.SKIPPED] * 2
    assert all("texts_of" in row.note for row in rows if isinstance(row, Measurement))
