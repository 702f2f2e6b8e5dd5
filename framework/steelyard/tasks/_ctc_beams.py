"""Prefix beam search for CTC (Graves 2008; Hannun et al. 2014)."""

import math
from collections import defaultdict
from typing import Any

from torch import Tensor

BLANK = 0
UNLIKELY = -12.0
"""Logarithm of a probability below which a token is not tried at a frame: six in a million."""


def best_text(steps: Tensor, *, beams: int) -> list[int]:
    """The most probable text among the beginnings that are followed; with enough beams, the most probable one.

    The best path is another thing: a text may be said by many paths, each of them less probable than the best one.

    Args:
        steps: Logarithms of the probabilities (F, V), token 0 the blank.
        beams: Beginnings that are kept from frame to frame.

    Returns:
        Tokens without blanks.
    """
    # For each beginning: the probability of all paths that say it and end in a blank, and of those that end in its
    # last token. Only after a blank the same token counts once more.
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    rows: Any = steps.double()
    for row in rows.tolist():
        grown: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        tried = [(token, chance) for token, chance in enumerate(row) if token != BLANK and chance > UNLIKELY]
        for text, (blank, token_last) in kept.items():
            either = _sum(blank, token_last)
            same = grown[text]
            same[0] = _sum(same[0], either + row[BLANK])
            if text:
                same[1] = _sum(same[1], token_last + row[text[-1]])
            for token, chance in tried:
                longer = grown[(*text, token)]
                before = blank if text and text[-1] == token else either
                longer[1] = _sum(longer[1], before + chance)
        order = sorted(grown.items(), key=lambda item: _sum(*item[1]), reverse=True)
        kept = {text: (chances[0], chances[1]) for text, chances in order[:beams]}
    return [*max(kept, key=lambda text: _sum(*kept[text]))]


def _sum(one: float, other: float) -> float:
    """The logarithm of the sum of two probabilities that are given by their logarithms."""
    high, low = (one, other) if one > other else (other, one)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
