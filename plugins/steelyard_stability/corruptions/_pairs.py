"""Clean and damaged examples side by side: seen, heard and read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steelyard.adapters import TextAdapter
from steelyard.measurement import Picture, Sound, Table
from steelyard.runs import Run
from steelyard.wav import wav
from steelyard_stability.corruptions._contrast import contrasted, overheard

HEARD = 3
"""Pairs that are heard, at most."""
SEEN = ("image", "detection")
"""Modalities whose examples are pictures."""
FARTHEST = 3
"""Words of a text that are named."""
PAUSE = 0.4
"""Seconds of silence between a clean sound and the damaged one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An example whose answer changed.

    Attributes:
        number: Its place in the split.
        kind: What happened to it.
        severity: How badly.
        clean: It alone, as a batch.
        damaged: The same after it happened.
        before: The answer to the clean one, in words.
        after: The answer to the damaged one.
        wanted: The right answer.
        told: What happened, where kind and severity do not say it.
    """

    number: int
    kind: str
    severity: int
    clean: Any
    damaged: Any
    before: str
    after: str
    wanted: str
    told: str = ""

    @property
    def damage(self) -> str:
        """What happened, in words."""
        return self.told or f"{self.kind.replace('_', ' ')} {self.severity}"


def pictured(run: Run, pairs: Sequence[Pair], *, split: str) -> Picture:
    """Each clean example before the damaged one, with what was changed."""
    before = [f"{pair.number}: {pair.before} ({pair.wanted} is right)" for pair in pairs]
    after = [f"{pair.damage}: {pair.after}" for pair in pairs]
    beside = _beside(run, pairs, before, after)
    colours = ": red brighter, blue darker" if beside and run.adapter.modality in SEEN else ""
    return Picture(
        name="worst",
        title=f"Answers that change most easily: each example clean, then damaged, with what was changed{colours}",
        png=beside or _drawn(run, pairs, before, after, split=split),
        alt="; ".join(f"example {pair.number}, {pair.damage}: {pair.before} becomes {pair.after}" for pair in pairs),
        split=split,
    )


def _beside(run: Run, pairs: Sequence[Pair], before: Sequence[str], after: Sequence[str]) -> bytes:
    """Pictures and sounds in a row each; nothing where they are neither, or of several sizes."""
    adapter = run.adapter
    clean, damaged = ([_view(run, batch).float().cpu() for batch in column] for column in _columns(pairs))
    if len({part.shape for part in clean}) > 1:
        return b""
    one, other = torch.cat(clean), torch.cat(damaged)
    if adapter.modality in SEEN and one.dim() == 4:
        return contrasted(one, other, before=before, after=after, bounds=adapter.bounds)
    if adapter.modality == "audio" and one.dim() == 2:
        return overheard(one, other, before=before, after=after, rate=getattr(adapter, "sample_rate", None))
    return b""


def _drawn(run: Run, pairs: Sequence[Pair], before: Sequence[str], after: Sequence[str], *, split: str) -> bytes:
    """As the adapter draws what speaks for an answer, with the change in its place."""
    seen = [_view(run, batch) for pair in pairs for batch in (pair.clean, pair.damaged)]
    changes = torch.cat([part for at in range(0, len(seen), 2) for part in (seen[at] * 0, seen[at + 1] - seen[at])])
    both = run.batch(split, [pair.number for pair in pairs for _ in range(2)])
    titles = [words for two in zip(before, after, strict=True) for words in two]
    return run.adapter.draw(run.adapter.replace(both, torch.cat(seen)), changes, titles=titles)


def _columns(pairs: Sequence[Pair]) -> tuple[list[Any], list[Any]]:
    return [pair.clean for pair in pairs], [pair.damaged for pair in pairs]


def heard(run: Run, pairs: Sequence[Pair], *, split: str, rate: int) -> Iterator[Sound]:
    """The first pairs, each clean, then damaged."""
    for place, pair in enumerate(pairs[:HEARD], start=1):
        clean, damaged = (_view(run, batch)[0].cpu() for batch in (pair.clean, pair.damaged))
        yield Sound(
            name=f"worst_{place}",
            title=f"Example {pair.number} clean, then after {pair.damage}",
            wav=wav(torch.cat([clean, torch.zeros(int(PAUSE * rate)), damaged]), rate=rate),
            alt=f"The model hears {pair.before} first, then {pair.after}; {pair.wanted} is right.",
            split=split,
        )


def read(pairs: Sequence[Pair], before: Sequence[str], after: Sequence[str], *, split: str) -> Table:
    """The texts before and after."""
    return Table(
        name="worst",
        title="Answers that change most easily: each text before and after",
        columns=("example", "damage", "text", "damaged text", "answer", "answer then", "right"),
        rows=[
            (pair.number, pair.damage, old, new, pair.before, pair.after, pair.wanted)
            for pair, old, new in zip(pairs, before, after, strict=True)
        ],
        split=split,
    )


def moved(run: Run, pairs: Sequence[Pair], *, split: str) -> Table | None:
    """Texts whose embeddings were moved, with the tokens that were moved farthest; None where nobody can spell them."""
    adapter = run.adapter
    if not isinstance(adapter, TextAdapter) or adapter.spell is None:
        return None
    rows: list[Sequence[str | float]] = []
    for pair in pairs:
        pieces = adapter.spell([int(token) for token in pair.clean[adapter.tokens][0]])
        far = (_view(run, pair.damaged) - _view(run, pair.clean))[0].square().sum(dim=-1)
        order = [int(place) for place in far.argsort(descending=True, stable=True)]
        words = [pieces[place].strip() for place in order if pieces[place].strip()]
        text = "".join(pieces).strip()
        most = ", ".join(words[:FARTHEST])
        rows.append((pair.number, pair.damage, text, most, pair.before, pair.after, pair.wanted))
    return Table(
        name="worst",
        title="Answers that change most easily: texts, and the words whose embeddings were moved farthest",
        columns=("example", "change", "text", "moved farthest", "answer", "answer then", "right"),
        rows=rows,
        split=split,
    )


def _view(run: Run, batch: Any) -> Tensor:
    return run.adapter.inputs(run.task, batch).detach()
