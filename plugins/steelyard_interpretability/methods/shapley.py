# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Shapley values of the units: exact for few of them, by weighted least squares for many, and LIME beside them.

All examples share the coalitions, so that one pass of the masked-forward engine and one solve serve them all.
"""

import math
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steelyard_interpretability.methods.grouping import grouped
from steelyard_interpretability.methods.question import Question, masked, spread

EXACT = 12
"""Units up to which all 2**K coalitions are asked."""
COALITIONS = 2048
PER_UNIT = 32
"""Coalitions per unit that the approximations ask for, up to `COALITIONS`."""
KERNEL_WIDTH = 0.25
RIDGE = 1e-3
_STREAM = 1953
"""Sets this random stream apart from every other one that is made of the same seed."""


def shapley(question: Question) -> Tensor:
    """Exact Shapley values (Shapley 1953) of up to 12 units, KernelSHAP above; shared evenly by a unit's elements."""
    if question.present.shape[1] > EXACT:
        return kernel_shap(question)
    return spread(exact(question), question)


def kernel_shap(question: Question, *, coalitions: int | None = None) -> Tensor:
    """KernelSHAP (Lundberg and Lee 2017) with paired coalitions (Covert and Lee 2021).

    Sizes of coalitions that would be drawn as often as there are any are asked completely, smallest and largest first;
    of the others different ones are drawn, in pairs of a coalition and its complement, which cancels the error of first
    order. The values add up to the difference of the score exactly.

    Args:
        question: What is asked; above 64 units neighbours are put together.
        coalitions: How many to ask; None for 32 per unit, at most 2048, times the question's effort.
    """
    coarse = grouped(question)
    players = coarse.present.shape[1]
    if players == 1:
        return spread(exact(coarse), question, units=coarse.units)
    count = question.scaled(min(COALITIONS, PER_UNIT * players)) if coalitions is None else coalitions
    keep, weights = drawn(players, count=max(count, 2 * players), seed=question.seed)
    return spread(_solved(coarse, keep, weights), question, units=coarse.units)


def lime(question: Question) -> Tensor:
    """LIME (Ribeiro et al. 2016): a ridge regression of the score on which units are kept, near ones weighing more.

    Nearness is exp(-d**2 / 0.25**2), d being one minus the root of the share that is kept.
    """
    coarse = grouped(question)
    players = coarse.present.shape[1]
    stream = np.random.default_rng([question.seed, _STREAM + 1])
    count = question.scaled(min(COALITIONS, PER_UNIT * players))
    half = stream.random((max(2, count // 2), players)) < 0.5
    keep = np.concatenate([half, ~half, np.ones((1, players), dtype=bool)])
    distance = 1 - np.sqrt(keep.mean(axis=1))
    weights = np.exp(-((distance / KERNEL_WIDTH) ** 2))
    answers = masked(coarse.score, coarse, torch.as_tensor(keep).to(coarse.inputs.device)).double()
    return spread(
        _ridge(torch.as_tensor(keep).double(), torch.as_tensor(weights), answers.cpu()).to(answers),
        question,
        units=coarse.units,
    )


def exact(question: Question) -> Tensor:
    """Exact Shapley values of K units by all 2**K coalitions: (N, K), in double precision."""
    players = question.present.shape[1]
    numbers = torch.arange(2**players, device=question.inputs.device)
    keep = (numbers[:, None] >> torch.arange(players, device=numbers.device)) & 1 == 1
    answers = masked(question.score, question, keep).double()
    sizes = keep.sum(dim=1)
    weight = torch.tensor(
        [1 / (players * math.comb(players - 1, size)) for size in range(players)], dtype=torch.double
    ).to(answers.device)
    # A coalition with a unit speaks for it, and one without it against it.
    into = keep * weight[(sizes - 1).clamp(min=0)][:, None] - ~keep * weight[sizes.clamp(max=players - 1)][:, None]
    return answers @ into


def drawn(players: int, *, count: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Coalitions (M, K) and their weights (M,), neither empty nor whole ones among them.

    Args:
        players: K, at least 2.
        count: About as many coalitions; all 2**K - 2 where that is enough for them.
        seed: Of those that are drawn.
    """
    # The kernel's mass of all coalitions of a size: (K - 1) / (size (K - size)).
    sizes = range(1, players // 2 + 1)
    kernel = {size: (players - 1) / (size * (players - size)) * (1 if 2 * size == players else 2) for size in sizes}
    rows: list[NDArray[np.bool_]] = []
    weights: list[float] = []
    left, todo = count, [*sizes]
    while todo:
        size = todo[0]
        both = math.comb(players, size) * (1 if 2 * size == players else 2)
        # Whole sizes leave too few draws for the others' mass, unless each of theirs would be drawn once anyway.
        if both > left * kernel[size] / sum(kernel[one] for one in todo):
            break
        todo.pop(0)
        left -= both
        for chosen in combinations(range(players), size):
            row = np.zeros(players, dtype=bool)
            row[[*chosen]] = True
            rows.append(row)
            if 2 * size != players:
                rows.append(~row)
        weights += [kernel[size] / both] * both
    pairs = left // 2
    if todo and pairs:
        stream = np.random.default_rng([seed, _STREAM])
        mass = np.array([kernel[size] for size in todo])
        # Each size its share, so that chance decides no more than it must.
        lots = np.searchsorted(np.cumsum(mass) / mass.sum(), (np.arange(pairs) + stream.random()) / pairs)
        counts = np.bincount(lots.clip(max=len(todo) - 1), minlength=len(todo))
        for size, many in zip(todo, counts, strict=True):
            rows += _pairs(players, size, count=int(many), stream=stream)
        weights += [mass.sum() / (len(rows) - len(weights))] * (len(rows) - len(weights))
    return np.stack(rows), np.array(weights)


def _pairs(players: int, size: int, *, count: int, stream: np.random.Generator) -> list[NDArray[np.bool_]]:
    """So many different coalitions of a size, each followed by its complement; all of them where there are no more."""
    count = min(count, math.comb(players, size) // (2 if 2 * size == players else 1))
    found: dict[bytes, NDArray[np.bool_]] = {}
    while len(found) < 2 * count:
        for row in stream.random((count - len(found) // 2, players)).argsort(axis=1) < size:
            if row.tobytes() not in found:
                found |= {row.tobytes(): row, (~row).tobytes(): ~row}
    return [*found.values()]


def _solved(question: Question, keep: NDArray[np.bool_], weights: NDArray[np.float64]) -> Tensor:
    """Least squares with the values' sum held at the difference of the score: (N, K)."""
    players = keep.shape[1]
    ends = np.stack([np.zeros(players, dtype=bool), np.ones(players, dtype=bool)])
    asked = torch.as_tensor(np.concatenate([ends, keep])).to(question.inputs.device)
    answers = masked(question.score, question, asked).double().cpu()
    empty, whole, middle = answers[:, 0], answers[:, 1], answers[:, 2:]
    z, w = torch.as_tensor(keep).double(), torch.as_tensor(weights).double()
    total = whole - empty
    # The last unit's value is what the others leave.
    left = z[:, :-1] - z[:, -1:]
    right = middle - empty[:, None] - total[:, None] * z[:, -1]
    root = w.sqrt()[:, None]
    solve: Any = torch.linalg.lstsq
    first: Tensor = solve(root * left, root * right.T, driver="gelsd").solution.T
    return torch.cat([first, (total - first.sum(dim=1))[:, None]], dim=1).to(question.inputs.device)


def _ridge(keep: Tensor, weights: Tensor, answers: Tensor) -> Tensor:
    """(N, K), the intercept left out and not punished."""
    mean = (weights[:, None] * keep).sum(dim=0) / weights.sum()
    centred = keep - mean
    goal = answers - (answers * weights).sum(dim=1, keepdim=True) / weights.sum()
    gram = centred.T @ (weights[:, None] * centred)
    gram += RIDGE * float(gram.diagonal().mean()) * torch.eye(len(gram), dtype=gram.dtype)
    solve: Any = torch.linalg.solve
    found: Tensor = solve(gram, centred.T @ (weights[:, None] * goal.T))
    return found.T
