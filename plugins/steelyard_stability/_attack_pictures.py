# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What is shown of an attack: the examples that fell first."""

from collections.abc import Iterator, Sequence

import torch

from steelyard.measurement import Artefact
from steelyard.runs import Run
from steelyard_stability._assault import Worst
from steelyard_stability._staging import SPLIT
from steelyard_stability.corruptions._audio import UNKNOWN_RATE
from steelyard_stability.corruptions._pairs import Pair, heard, moved, pictured


@torch.no_grad()
def worst_examples(run: Run, worst: Sequence[Worst], *, norm: str) -> Iterator[Artefact]:
    """Each example clean, then with the smallest change that was enough; sounds are heard, too."""
    pairs = [pair for one in worst if (pair := _pair(run, one, norm)) is not None]
    if not pairs:
        return
    table = moved(run, pairs, split=SPLIT)
    yield pictured(run, pairs, split=SPLIT) if table is None else table
    if run.adapter.modality == "audio":
        rate: int | None = getattr(run.adapter, "sample_rate", None)
        yield from heard(run, pairs, split=SPLIT, rate=rate or UNKNOWN_RATE)


def _pair(run: Run, one: Worst, norm: str) -> Pair | None:
    adapter, scoring = run.adapter, run.adapter.scoring
    clean = run.batch(SPLIT, [one.number])
    if adapter.inputs(run.task, clean).shape[1:] != one.inputs.shape:
        # Alone it is not padded as it was among others, so that the change lies elsewhere.
        return None
    damaged, targets = adapter.replace(clean, one.inputs[None]), adapter.targets(clean)
    before, after = (
        adapter.told(scoring.said(scoring.decisions(adapter.outputs(run.task, batch), targets)[0]))
        for batch in (clean, damaged)
    )
    return Pair(
        number=one.number,
        kind=norm,
        severity=0,
        clean=clean,
        damaged=damaged,
        before=before,
        after=after,
        wanted=adapter.told(scoring.wanted(targets[0])),
        told=f"{norm} {one.radius:g}",
    )
