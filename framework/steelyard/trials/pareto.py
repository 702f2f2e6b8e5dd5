"""Pareto fronts: what nothing else beats in both directions."""

import math
from collections.abc import Sequence
from itertools import groupby

from steelyard.measurement import Better


def front(points: Sequence[tuple[float, float]], *, x: Better, y: Better) -> tuple[int, ...]:
    """Places of the points on the front, from the best `x` on.

    A point is on the front unless another one is at least as good in both and better in one. Equal points stand
    together.
    """
    signs = tuple(1.0 if better is Better.LOWER else -1.0 for better in (x, y))
    costs = [(signs[0] * across, signs[1] * up) for across, up in points]
    order = sorted(range(len(costs)), key=lambda place: costs[place])
    kept: list[int] = []
    lowest = math.inf
    for _, column in groupby(order, key=lambda place: costs[place][0]):
        places = list(column)
        least = costs[places[0]][1]
        if least < lowest:
            kept += [place for place in places if costs[place][1] == least]
            lowest = least
    return tuple(kept)
