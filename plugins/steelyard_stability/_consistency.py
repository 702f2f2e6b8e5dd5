"""The live half of `stability=consistency`."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from steelyard.adapters import IGNORED, Retelling
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.runs import Run
from steelyard.statistics import proportion
from steelyard_stability._rewriting import retold, rewritten, writing_of
from steelyard_stability._symmetries import columns, moved, pairs
from steelyard_stability.consistency import Consistency

SPLIT = "test"
WAYS = {
    "again": "is asked a second time",
    "alone": "stands in a batch of its own",
    "order": "stands elsewhere in its batch",
    "threads": "is computed by one thread",
    "bfloat16": "is computed in 16 bits",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the model said of a batch, row by row.

    Attributes:
        decisions: (B, ...).
        probabilities: That it gave to the decisions of the first asking (B,).
    """

    decisions: Tensor
    probabilities: Tensor


@final
class ConsistencyAttachment(Attachment):
    """Asks, and asks again."""

    def __init__(self, plugin: Consistency) -> None:
        self._plugin, self._examples = plugin, plugin.examples

    @torch.no_grad()
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Changed decisions and the largest shift of probability, for each way of asking."""
        named = {name: f"is shown under the symmetry {name}" for name in self._plugin.symmetries}
        ways = {**WAYS, **named}
        changed = dict.fromkeys(ways, 0)
        shift = dict.fromkeys(ways, 0.0)
        count = 0
        for raw in run.loader(SPLIT):
            batch, size = _first(run, run.to_device(raw), self._examples - count)
            first = _asked(run, batch)
            ask = _asking(run, batch, first.decisions, start=count)
            for way in ways:
                answers = ask[way]() if way in ask else _under(run, batch, first.decisions, way)
                changed[way] += int((~run.adapter.scoring.same(answers.decisions, first.decisions)).sum())
                apart = (answers.probabilities - first.probabilities).abs().max()
                # A probability that is no number has moved as far as can be.
                shift[way] = max(shift[way], float(torch.nan_to_num(apart, nan=1.0)))
            count += size
            if count >= self._examples:
                break
        for way, words in ways.items():
            yield proportion(
                "changed",
                changed[way],
                count,
                better=Better.LOWER,
                split=SPLIT,
                at={"way": way},
                note=f"largest shift of a probability {shift[way]:.2g}",
                meaning=f"share of the test examples whose answer changes when the example {words}",
            )
        writing = writing_of(run, self._plugin)
        if writing is not None and self._plugin.writings:
            yield from rewritten(run, writing, self._plugin)
        if self._plugin.paraphrases is not None:
            texts = columns(pairs(self._plugin.paraphrases))
            yield _retold(run, texts) if writing is None else retold(run, writing, texts)


def _under(run: Run, batch: Any, decisions: Tensor, name: str) -> Answers:
    adapter = run.adapter
    view = moved(name, adapter.inputs(run.task, batch))
    return _asked(run, adapter.replace(batch, adapter.clip(view)), decisions)


def _retold(run: Run, texts: tuple[list[str], list[str]], *, size: int = 32) -> Measurement:
    """Pairs of texts, each in the place of test examples, whose labels nobody asks for."""
    adapter, count, changed, shift = run.adapter, len(texts[0]), 0, 0.0
    assert isinstance(adapter, Retelling)
    one = run.batch(SPLIT, [0])
    for start in range(0, count, size):
        first, second = (column[start : start + size] for column in texts)
        places = run.adapter.take(one, torch.zeros(len(first), dtype=torch.long, device=run.device))
        said = _asked(run, adapter.retold(places, first))
        told = _asked(run, adapter.retold(places, second), said.decisions)
        changed += int((~run.adapter.scoring.same(told.decisions, said.decisions)).sum())
        shift = max(shift, float((told.probabilities - said.probabilities).abs().max()))
    return proportion(
        "changed",
        changed,
        count,
        better=Better.LOWER,
        split=None,
        at={"way": "paraphrase"},
        note=f"pairs of texts that mean the same, from the user's file; largest shift of a probability {shift:.2g}",
        meaning="share of the pairs whose two texts, which mean the same, get different answers",
    )


def _asking(run: Run, batch: Any, decisions: Tensor, *, start: int) -> dict[str, Callable[[], Answers]]:
    size = len(decisions)
    back = torch.arange(size, device=decisions.device).flip(0)

    def alone() -> Answers:
        # Collated anew: what is padded to the length of its neighbours in a batch is not padded here.
        return _joined([_asked(run, run.batch(SPLIT, [start + row]), decisions[row][None]) for row in range(size)])

    def order() -> Answers:
        found = _asked(run, run.adapter.take(batch, back), decisions[back])
        return Answers(decisions=found.decisions[back], probabilities=found.probabilities[back])

    def threads() -> Answers:
        with _one_thread():
            return _asked(run, batch, decisions)

    def coarse() -> Answers:
        with torch.autocast(run.device.type, dtype=torch.bfloat16):
            return _asked(run, batch, decisions)

    return {
        "again": lambda: _asked(run, batch, decisions),
        "alone": alone,
        "order": order,
        "threads": threads,
        "bfloat16": coarse,
    }


def _asked(run: Run, batch: Any, followed: Tensor | None = None) -> Answers:
    scoring = run.adapter.scoring
    outputs = run.adapter.outputs(run.task, batch)
    decisions = scoring.decisions(outputs, run.adapter.targets(batch))
    if followed is None:
        return Answers(decisions=decisions, probabilities=scoring.probabilities(outputs, decisions).float())
    chances = scoring.probabilities(outputs, _fitted(followed, like=decisions)).float()
    return Answers(decisions=_fitted(decisions, like=followed), probabilities=chances)


def _fitted(decisions: Tensor, *, like: Tensor) -> Tensor:
    """As many places as `like` has: shorter ones are filled up, and what is cut off was filled up."""
    if decisions.dim() < 2 or decisions.shape[1] == like.shape[1]:
        return decisions
    rest = [0, 0] * (decisions.dim() - 2)
    return pad(decisions, [*rest, 0, like.shape[1] - decisions.shape[1]], value=IGNORED)


def _joined(rows: list[Answers]) -> Answers:
    return Answers(
        decisions=torch.cat([row.decisions for row in rows]),
        probabilities=torch.cat([row.probabilities for row in rows]),
    )


def _first(run: Run, batch: Any, most: int) -> tuple[Any, int]:
    size = run.adapter.size(batch)
    if size <= most:
        return batch, size
    return run.adapter.take(batch, torch.arange(most, device=run.device)), most


@contextmanager
def _one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
