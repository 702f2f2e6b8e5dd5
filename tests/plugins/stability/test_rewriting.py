"""Whether a model that writes writes the same again."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from small_runs import bits, frozen, same_bits, streams
from steelyard.adapters import IGNORED, AudioAdapter, TextAdapter, TokenScoring
from steelyard.measurement import Measurement
from steelyard.tasks import Dictation, LanguageModel
from steelyard_stability import Consistency
from steelyard_stability._consistency import ConsistencyAttachment

WORDS, END = 12, 3
TEXTS = [[2, *range(first, 12)] for first in range(4, 10)]


class Counting(nn.Module):
    """Goes on from its last token by one, up to 11, and then ends; `shake` adds to each step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.end = nn.Embedding(WORDS, 1), END

    def embed(self, tokens: Tensor) -> Tensor:
        return self.layer(tokens)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return nn.functional.one_hot((batch["input_ids"] + 1) % WORDS, WORDS).float()

    def shake(self, count: int) -> Tensor:
        return torch.zeros(count).long()

    def write(self, batch: Mapping[str, Tensor], *, beams: int, most: int) -> Tensor:
        assert beams == 1
        last = batch["input_ids"].gather(1, batch["attention_mask"].sum(dim=1, keepdim=True) - 1)[:, 0]
        written: list[Tensor] = []
        for _ in range(most):
            last = torch.where((last == END) | (last >= WORDS - 1), END, last + 1 + self.shake(len(last)))
            written.append(last.clamp(max=WORDS - 1))
        rows = torch.stack(written, dim=1)
        ends = (rows == END).long()
        return rows.masked_fill(ends.cumsum(dim=1) > ends, IGNORED)


class Drawing(Counting):
    def shake(self, count: int) -> Tensor:
        return torch.randint(0, 3, (count,))


class Crowded(Counting):
    def shake(self, count: int) -> Tensor:
        return torch.full((count,), min(count - 1, 1))


class Ranked(Counting):
    def shake(self, count: int) -> Tensor:
        return torch.arange(count) % 2


def collated(rows: list[list[int]]) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = (tokens != 0).long()
    labels = torch.cat([tokens[:, 1:], torch.zeros(len(rows), 1).long()], dim=1)
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels.masked_fill(labels == 0, IGNORED)}


class Stories(LightningDataModule):
    def test_dataloader(self) -> Any:
        return DataLoader(TEXTS, batch_size=4, collate_fn=collated)  # type: ignore[arg-type]


def tokenised(texts: Any) -> Mapping[str, Tensor]:
    made = collated([[2, *map(int, text.split()), END] for text in texts])
    return {key: made[key] for key in ("input_ids", "attention_mask")}


def told(model: nn.Module, **options: Any) -> dict[Any, Measurement]:
    task = LanguageModel(model=model, optimizer=partial(torch.optim.SGD, lr=0.1))
    run = frozen(task, Stories(), adapter=TextAdapter(scoring=TokenScoring(), bounds=None, tokenise=tokenised))
    before = bits(task), streams()
    found = [*ConsistencyAttachment(Consistency(**options)).measure(run)]
    assert same_bits(before[0], bits(task))
    assert streams() == before[1]
    return {row.at["way"]: row for row in found if isinstance(row, Measurement) and row.name == "rewritten"}


@pytest.mark.parametrize(
    ("model", "moved"),
    [
        (Counting, set[str]()),
        (Drawing, {"another_seed", "alone", "order"}),
        (Crowded, {"alone"}),
        (Ranked, {"alone", "order"}),
    ],
)
def test_what_is_written_anew_shows_what_it_depends_on(model: type[Counting], moved: set[str]) -> None:
    rows = told(model(), tokens=6)

    assert {way for way, row in rows.items() if row.value} == moved
    assert {*rows} == {"again", "another_seed", "alone", "order"}
    assert all(row.count == len(TEXTS) for row in rows.values())


def test_no_more_is_written_than_was_asked_for() -> None:
    assert all(row.count == 5 for row in told(Counting(), writings=5).values())
    assert not told(Counting(), writings=0)


def test_texts_that_mean_the_same_are_gone_on_from(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("one,other\n4 5,9 5\n4 5,5 6\n7,7\n", encoding="utf-8")

    row = told(Counting(), paraphrases=pairs)["paraphrase"]

    assert (row.value, row.count) == (pytest.approx(1 / 3), 3)
    assert "on average the first 67% of an answer stay" in row.note


class Ears(nn.Module):
    """Writes the sound that it hears; in a crowd each sound one step higher."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, samples: Tensor, texts: Tensor) -> Tensor:
        return nn.functional.one_hot(texts.clamp(min=0), WORDS).float() + 0 * samples.sum()

    def write(self, samples: Tensor, *, beams: int) -> Tensor:
        assert beams == 2
        return torch.cat([samples.long() + min(len(samples) - 1, 1), torch.zeros(len(samples), 1).long()], dim=1)


class Sounds(LightningDataModule):
    def test_dataloader(self) -> Any:
        return DataLoader([(torch.full((3,), one), torch.tensor([1, 0])) for one in (2.0, 3.0, 4.0)], batch_size=3)


def test_what_hears_writes_as_its_task_transcribes() -> None:
    task = Dictation(model=Ears(), optimizer=partial(torch.optim.SGD, lr=0.1), beams=2)
    run = frozen(task, Sounds(), adapter=AudioAdapter(scoring=TokenScoring(forced=True), bounds=(-1.0, 1.0)))
    found = ConsistencyAttachment(Consistency()).measure(run)
    rows = {row.at["way"]: row for row in found if isinstance(row, Measurement) and row.name == "rewritten"}
    assert {way: row.value for way, row in rows.items()} == {"again": 0, "another_seed": 0, "alone": 1, "order": 0}
    assert all("written as the task transcribes" in row.note for row in rows.values())
