"""Where the units of an input lie, so that what is drawn, blurred or compared knows its neighbours."""

import torch
from torch import Tensor

PART = 8
"""A blur reaches over about an eighth of each side."""


def axes(units: Tensor) -> tuple[int, ...]:
    """The dimensions of one example along which its units differ: height and width of an image, and not its channels.

    Args:
        units: The unit of each element, shaped as one example.
    """
    return tuple(d for d in range(units.dim()) if bool((units != units.narrow(d, 0, 1)).any()))


def sides(units: Tensor) -> tuple[int, ...]:
    """Units along each axis, where they fill a grid row by row; else all of them in one row.

    Args:
        units: The unit of each element, shaped as one example.
    """
    count = int(units.max()) + 1
    found: list[int] = []
    for axis in axes(units):
        line = units.movedim(axis, 0).reshape(units.shape[axis], -1)[:, 0]
        found.append(len({*map(int, line)}))
    return tuple(found) if torch.Size(found).numel() == count else (count,)


def smooth(values: Tensor, *, shape: tuple[int, ...], reach: int | None = None) -> Tensor:
    """The mean over each unit's neighbourhood, a box; at the border the last unit stands for those beyond it.

    Args:
        values: (N, K), units row by row.
        shape: Of the grid, K units.
        reach: Units to each side; None for a sixteenth of the side, at least 1.
    """
    grid = values.reshape(-1, *shape)
    for axis, side in enumerate(shape, start=1):
        far = min(side - 1, max(1, round(side / (2 * PART))) if reach is None else reach)
        places = torch.arange(side, device=values.device)
        shifted = [grid.index_select(axis, (places + by).clamp(0, side - 1)) for by in range(-far, far + 1)]
        grid = torch.stack(shifted).mean(dim=0)
    return grid.reshape(values.shape)


def similarity(ours: Tensor, theirs: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    """Structural similarity of two maps (Wang et al. 2004) over boxes of 3 units a side: (N,), 1 for the same map.

    Of the absolute values, each map scaled to a largest one of 1, so that only its shape counts.

    Args:
        ours: (N, K).
        theirs: (N, K).
        shape: Of the grid, K units.
    """
    tiny = torch.finfo(torch.float64).tiny
    x, y = (v / v.amax(dim=1, keepdim=True).clamp(min=tiny) for v in (ours.double().abs(), theirs.double().abs()))

    def mean(values: Tensor) -> Tensor:
        return smooth(values, shape=shape, reach=1)

    at_x, at_y = mean(x), mean(y)
    spread = (mean(x * x) - at_x**2).clamp(min=0) + (mean(y * y) - at_y**2).clamp(min=0)
    both = mean(x * y) - at_x * at_y
    # The constants of the paper, for a range of 1.
    one, two = 0.01**2, 0.03**2
    found = (2 * at_x * at_y + one) * (2 * both + two) / ((at_x**2 + at_y**2 + one) * (spread + two))
    return found.mean(dim=1)
