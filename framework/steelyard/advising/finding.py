"""The largest batch that fits, without a real step: by predictions alone nothing can be killed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

CLOSE = 0.03
"""Where two sizes lie this near, the search ends."""
LOOKS = 24
"""Predictions, at most: each takes a second or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How large a batch may be.

    Attributes:
        rows: The largest batch that fits; 0 if not even one example does.
        need: What it needs, in bytes.
        looks: Predictions that were made.
        capped: True if the data set, and not the memory, is the bound.
    """

    rows: int
    need: int
    looks: int
    capped: bool


def largest(predict: Callable[[int], int], *, start: int, most: int, limit: int) -> Found:
    """The largest batch whose predicted bytes are within the limit, to 3 %.

    A straight line through the last two predictions says where to look next, between a batch that fits and one that
    does not. No batch is tried that is more than four times the largest known to fit, since each prediction loads one
    batch for its shapes.

    Args:
        predict: Rows of a batch -> bytes; grows with the rows.
        start: Where to begin.
        most: Examples in the training data.
        limit: In bytes.
    """
    low, high = 0, most + 1
    known: dict[int, int] = {}
    at = max(1, min(start, most))
    while len(known) < LOOKS and high - low > max(1, math.floor(CLOSE * low) + 1):
        known[at] = predict(at)
        if known[at] <= limit:
            low = at
        else:
            high = at
        at = _next(known, low=low, high=high, limit=limit)
        if at in known:
            break
    return Found(rows=low, need=known.get(low, 0), looks=len(known), capped=low == most)


def _next(known: dict[int, int], *, low: int, high: int, limit: int) -> int:
    """Inside of (low, high)."""
    guess = (low + high) // 2
    # Every third look halves what is left, whatever the line says: predictions need not lie on one.
    if len(known) > 1 and len(known) % 3:
        (one, here), (other, there) = sorted(known.items(), key=lambda item: abs(item[1] - limit))[:2]
        if here != there:
            guess = int(one + (limit - here) * (other - one) / (there - here))
        # A line that meets one bound again and again would only creep: the next look closes the gap, or opens it.
        if guess <= low * (1 + CLOSE / 2):
            guess = math.floor(low * (1 + CLOSE)) + 1
        elif guess >= high * (1 - CLOSE / 2):
            guess = math.ceil(high * (1 - CLOSE)) - 1
    elif low and high > 4 * low:
        guess = 4 * low
    floor, ceiling = low + 1, high - 1
    if low:
        ceiling = min(ceiling, 4 * low)
    return max(floor, min(guess, ceiling)) if floor <= ceiling else low
