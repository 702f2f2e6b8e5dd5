"""Several attributions of the same examples in one picture, on one scale."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from steelyard.adapters.adapter import Adapter


@runtime_checkable
class Comparing(Protocol):
    """What an adapter has beside `draw` that can show an input once and several attributions next to it."""

    def compare(
        self, batch: Any, attributions: Sequence[Tensor], *, names: Sequence[str], titles: Sequence[str]
    ) -> bytes:
        """A PNG with a row for each example: the input, then its attributions, all on one signed scale.

        Args:
            batch: N examples.
            attributions: Each (N, ...), shaped as their continuous view.
            names: What each attribution is called, one to a column.
            titles: N captions.
        """
        ...


def side_by_side(
    adapter: Adapter,
    batch: Any,
    attributions: Sequence[Tensor],
    *,
    names: Sequence[str],
    titles: Sequence[str],
    decisions: Tensor,
) -> bytes:
    """A PNG of every example with all its attributions; an adapter that cannot compare draws each example again.

    Args:
        adapter: Of the modality.
        batch: N examples.
        attributions: At least one, each (N, ...).
        names: One for each attribution; empty for a single one that needs none.
        titles: N captions.
        decisions: N rows of `Scoring.decisions`.
    """
    if not names:
        return adapter.draw(batch, attributions[0], titles=titles, decisions=decisions)
    if isinstance(adapter, Comparing):
        return adapter.compare(batch, attributions, names=names, titles=titles)
    times = len(attributions)
    rows = torch.arange(len(titles)).repeat_interleave(times)
    each = torch.stack([*attributions], dim=1).flatten(0, 1)
    return adapter.draw(
        adapter.take(batch, rows.to(adapter.targets(batch).device)),
        each,
        titles=[f"{name}\n{title}" for title in titles for name in names],
        decisions=decisions[rows.to(decisions.device)],
    )
