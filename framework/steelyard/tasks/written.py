"""What a model writes by itself about a split, beside what is right."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from steelyard.data.tokens import IGNORED
from steelyard.models.writer import Writer
from steelyard.narrowing import is_mapping
from steelyard.runs import Run


@runtime_checkable
class TextSource(Protocol):
    """A data module that still has the texts as they were read."""

    def texts_of(self, split: str) -> Sequence[str]:
        """What is to be answered, in the order of the split's unshuffled loader."""
        ...

    def answers_of(self, split: str) -> Sequence[str] | None:
        """What is right, in the same order."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Texts of one split, row by row.

    Attributes:
        texts: What was to be answered; None where it is no text.
        answers: What the model wrote.
        wanted: What is right.
        note: How the answers came about.
    """

    texts: Sequence[str] | None
    answers: Sequence[str]
    wanted: Sequence[str]
    note: str


def spread(population: int, *, most: int) -> list[int]:
    """At most `most` places at equal distances, so that a sorted split is seen from end to end."""
    count = min(population, most)
    return [place * population // count for place in range(count)]


@torch.no_grad()
def write(run: Run, model: Writer, *, split: str, count: int, beams: int, most: int) -> Written:
    """Lets the model write, batch by batch, until all is written or the deadline is over.

    Args:
        run: The run.
        model: What writes.
        split: train, val or test.
        count: At most this many examples.
        beams: Of the search.
        most: Tokens of an answer.
    """
    loader = run.loader(split)
    dataset: Any = loader.dataset
    places = spread(len(dataset), most=count)
    step = loader.batch_size or 1
    answers: list[str] = []
    texts: list[str] = []
    wanted: list[str] = []
    for start in range(0, len(places), step):
        if answers and run.deadline is not None and time.monotonic() > run.deadline:
            break
        batch = run.batch(split, places[start : start + step])
        answers += _told(run, model.write(batch, beams=beams, most=most))
        wanted += _told(run, run.adapter.targets(batch))
        if is_mapping(batch) and "input_ids" in batch:
            texts += _told(run, batch["input_ids"])
    done = places[: len(answers)]
    late = "" if len(done) == len(places) else f"; the deadline left time for {len(done)} of {len(places)} examples"
    told = "beam search" if beams > 1 else "greedy search"
    source = run.data if isinstance(run.data, TextSource) else None
    known = source.answers_of(split) if source is not None else None
    if source is not None:
        read = source.texts_of(split)
        texts = [read[place] for place in done]
    return Written(
        texts=texts or None,
        answers=answers,
        wanted=wanted if known is None else [known[place] for place in done],
        note=f"{told}, {beams} beam{'s' * (beams > 1)}, at most {most} tokens{late}",
    )


def _told(run: Run, tokens: Tensor) -> Iterator[str]:
    """Rows of tokens (B, T) in words."""
    return (run.adapter.told([int(token) for token in row if token != IGNORED]) for row in tokens.cpu())
