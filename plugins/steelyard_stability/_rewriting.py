# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a model writes by itself, and whether it writes the same again."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steelyard import randomness
from steelyard.adapters import IGNORED
from steelyard.adapters.text import TextAdapter
from steelyard.measurement import Better, Measurement, Status
from steelyard.models.writer import Writer
from steelyard.narrowing import is_mapping
from steelyard.runs import Run
from steelyard.statistics import proportion
from steelyard_stability.consistency import Consistency

SPLIT, NAME = "test", "rewritten"
WAYS = {
    "again": "is asked for a second time with the same seed",
    "another_seed": "is asked for with another seed",
    "alone": "is asked for in a batch of its own",
    "order": "stands elsewhere in its batch",
}
TOKENS, MASK, LABELS = "input_ids", "attention_mask", "labels"
Row = tuple[int, ...]
"""The tokens of one answer."""


class Difference(NamedTuple):
    """How far two answers to the same question agree."""

    changed: int
    shared: float


class Writing(NamedTuple):
    """How answers come about.

    Attributes:
        answers: A batch -> the tokens of each answer.
        how: In words.
    """

    answers: Callable[[Any], list[Row]]
    how: str


def writing_of(run: Run, plugin: Consistency) -> Writing | None:
    """How the model of the run writes, if it does; a task that hears has a way of its own."""
    model: Any = getattr(run.task, "model", None)
    if not isinstance(model, Writer):
        return None
    transcribe: Any = getattr(run.task, "transcribe", None)
    if transcribe is None:
        return Writing(partial(_greedy, model, plugin.tokens), f"greedy, at most {plugin.tokens} tokens")

    def heard(batch: Any) -> list[Row]:
        return [tuple(text) for text in transcribe(run.adapter.inputs(run.task, batch))]

    return Writing(heard, "written as the task transcribes")


@torch.no_grad()
def rewritten(run: Run, writing: Writing, plugin: Consistency) -> Iterator[Measurement]:
    """The share of the answers that change, for each way of asking for them; token by token."""
    found = {way: [Difference(0, 0.0)] for way in WAYS}
    count = 0
    size = run.loader(SPLIT).batch_size or 1
    while count < plugin.writings:
        numbers = [*range(count, min(count + size, plugin.writings, _population(run)))]
        if not numbers:
            break
        ask = _asking(run, writing, numbers, plugin)
        first = ask["again"]()
        for way in WAYS:
            found[way].append(_difference(first, ask[way]()))
        count += len(numbers)
    for way, words in WAYS.items():
        yield _row(found[way], count, at=way, split=SPLIT, writing=writing, words=f"when it {words}")


@torch.no_grad()
def retold(run: Run, writing: Writing, pairs: tuple[list[str], list[str]]) -> Measurement:
    """What the model writes after each of two texts that mean the same."""
    adapter = run.adapter
    if not isinstance(adapter, TextAdapter) or adapter.tokenise is None:
        return Measurement(name=NAME, status=Status.SKIPPED, note="the data does not tokenise texts of the user")
    size, count, found = run.loader(SPLIT).batch_size or 1, len(pairs[0]), [Difference(0, 0.0)]
    for start in range(0, count, size):
        one, other = (
            _written(writing, _begun(run, adapter.tokenise(texts[start : start + size])), seed=run.seed)
            for texts in pairs
        )
        found.append(_difference(one, other))
    words = "between two texts that mean the same, from the user's file"
    return _row(found, count, at="paraphrase", split=None, writing=writing, words=words)


def _row(
    found: Sequence[Difference], count: int, *, at: str, split: str | None, writing: Writing, words: str
) -> Measurement:
    shared = sum(one.shared for one in found) / max(count, 1)
    return proportion(
        NAME,
        sum(one.changed for one in found),
        count,
        better=Better.LOWER,
        split=split,
        at={"way": at},
        note=f"{writing.how}; on average the first {shared:.0%} of an answer stay",
        meaning=f"share of the answers written by the model that change {words}",
    )


def _asking(
    run: Run, writing: Writing, numbers: Sequence[int], plugin: Consistency
) -> dict[str, Callable[[], list[Row]]]:
    def ask(places: Sequence[int], *, seed: int = run.seed) -> list[Row]:
        return _written(writing, _opened(run.batch(SPLIT, places), plugin), seed=seed)

    return {
        "again": lambda: ask(numbers),
        "another_seed": lambda: ask(numbers, seed=run.seed + 1),
        "alone": lambda: [row for place in numbers for row in ask([place])],
        "order": lambda: ask(numbers[::-1])[::-1],
    }


def _written(writing: Writing, batch: Any, *, seed: int) -> list[Row]:
    with _seeded(seed):
        return writing.answers(batch)


def _greedy(model: Writer, tokens: int, batch: Mapping[str, Tensor]) -> list[Row]:
    rows = model.write(batch, beams=1, most=tokens)
    return [tuple(int(token) for token in row if token != IGNORED) for row in rows.cpu()]


def _opened(batch: Any, plugin: Consistency) -> Any:
    """Where the task foretells the text itself, its first half, at most `opening` tokens; else the whole question."""
    if not is_mapping(batch) or TOKENS not in batch:
        return batch
    tokens, labels, mask = (batch[key] for key in (TOKENS, LABELS, MASK))
    if labels.shape != tokens.shape or not torch.equal(
        labels[:, :-1], tokens[:, 1:].where(labels[:, :-1] != IGNORED, labels[:, :-1])
    ):
        return batch
    kept = (mask.sum(dim=1) // 2).clamp(min=1, max=plugin.opening)
    longest = int(kept.max())
    places = torch.arange(longest, device=tokens.device)
    return {TOKENS: tokens[:, :longest], MASK: (places < kept[:, None]).to(mask)}


def _begun(run: Run, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A text of the user as a question: what ends a text is no part of what is to go on."""
    end = getattr(getattr(run.task, "model", None), "end", None)
    tokens, mask = made[TOKENS].to(run.device), made[MASK].to(run.device)
    return {TOKENS: tokens, MASK: mask if end is None else mask.masked_fill(tokens == end, 0)}


def _difference(one: Sequence[Row], other: Sequence[Row]) -> Difference:
    shared = 0.0
    for first, second in zip(one, other, strict=True):
        same = next((at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
        agree = min(len(first), len(second)) if same is None else same
        shared += agree / max(len(first), len(second), 1) if first or second else 1.0
    return Difference(sum(first != second for first, second in zip(one, other, strict=True)), shared)


def _population(run: Run) -> int:
    dataset: Any = run.loader(SPLIT).dataset
    return len(dataset)


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    with randomness.forked():
        torch.manual_seed(seed)
        yield
