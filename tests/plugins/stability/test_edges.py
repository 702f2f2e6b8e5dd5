"""Silence, odd texts, odd sizes and a single example: each plugin says a number, or why there is none."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers.looks import LOOKS
from small_runs import IMAGES, Points, frozen, table_task
from steelyard.adapters import AudioAdapter, ClassScoring, adapter_for
from steelyard.adapters.factory import Facts
from steelyard.data import TextCSV
from steelyard.measurement import Measurement, Status
from steelyard.measuring import looking
from steelyard.runs import Run

TEXTS = ("...", "&", "\U0001f600\U0001f600", "我不喜欢这部电影", "\U0001f469\u200d\U0001f467 ok", "a")
"""An empty one is refused by the data; it may come of editing, and is tested there."""


class Pooled(nn.Module):
    """The mean over all tokens of a text, and two classes."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(words, 4), nn.Linear(4, 2)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        there = batch["attention_mask"][..., None]
        return self.head((self.words(batch["input_ids"]) * there).sum(dim=1) / there.sum(dim=1))


def flat(values: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(values, 6), nn.ReLU(), nn.Linear(6, 2))


def pictures(count: int, height: int, width: int) -> Run:
    inputs = torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(0))
    data = Points(inputs, torch.arange(count) % 2, batch_size=4)
    return frozen(table_task(flat(height * width)), data, adapter=IMAGES)


def silence() -> Run:
    adapter = AudioAdapter(scoring=ClassScoring(), bounds=(-1.0, 1.0), sample_rate=8000)
    data = Points(torch.zeros(6, 400), torch.arange(6) % 2, batch_size=4)
    return frozen(table_task(flat(400)), data, adapter=adapter)


def texts() -> Run:
    path = Path("texts.csv")
    rows = [f"{number % 2},{text}" for number, text in enumerate([*TEXTS, *TEXTS])]
    path.write_text("label,text\n" + "\n".join(rows), encoding="utf-8")
    data = TextCSV(path=path, tokens="words", batch_size=4, test_fraction=0.5, val_fraction=0.25)
    data.setup("fit")
    torch.manual_seed(0)
    task = table_task(Pooled(len(data.vocabulary)))
    facts = Facts(names=data.names, spell=data.spell, texts_of=data.texts_of, tokenise=data.tokenise)
    return frozen(task, data, adapter=adapter_for("text", facts=facts))


EDGES: dict[str, Callable[[], Run]] = {
    "a single example": partial(pictures, 1, 8, 8),
    "7 x 5 pixels": partial(pictures, 6, 7, 5),
    "silence": silence,
    "texts": texts,
}


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", [name for name in LOOKS if name != "adversarial_training"])
def test_each_plugin_says_a_number_or_why_there_is_none(name: str, edge: str) -> None:
    run = EDGES[edge]()
    with looking(run.task):
        rows = [row for row in LOOKS[name].attach(None).measure(run) if isinstance(row, Measurement)]  # type: ignore[arg-type]  # the draft is not read

    assert rows
    for row in rows:
        if row.status is Status.MEASURED:
            assert row.value is not None
            assert math.isfinite(row.value), row
        else:
            assert row.note, row
