"""Orders of removal that every explanation must be held against: they know nothing of the model, or all of it."""

import numpy as np
import torch
from torch import Tensor

from steelyard_interpretability.measures.grid import axes, sides, smooth
from steelyard_interpretability.methods.question import Question, asked, masked, per_unit

BLOCKS = 64
"""Parts of an input that the search takes away one by one."""
NOISE = 2304
"""Sets the stream of the blurred noise apart; arXiv 2304.13836 is where removal was shown to prefer it."""


def edges(question: Question) -> Tensor:
    """How much the input changes from neighbour to neighbour, in each unit (N, K): an edge detector.

    The mean absolute difference along every axis of the units; it has never seen the model (Adebayo et al. 2018).
    """
    found = torch.zeros_like(question.inputs)
    for axis in axes(question.units):
        step = question.inputs.diff(dim=axis + 1).abs()
        side = question.inputs.shape[axis + 1]
        found.narrow(axis + 1, 0, side - 1).add_(step)
        found.narrow(axis + 1, 1, side - 1).add_(step)
    return per_unit(found, question)


def blurred_noise(question: Question) -> Tensor:
    """A smooth random map of each example (N, K): its order takes away whole regions, and knows nothing.

    Removing regions hurts a model more than removing as many scattered units, so a smooth map does better than a
    random order without being right.
    """
    shape = sides(question.units)
    units = question.present.shape[1]
    drawn = [
        np.random.default_rng([question.seed, NOISE, number]).standard_normal(units) for number in question.numbers
    ]
    return smooth(torch.as_tensor(np.array(drawn)), shape=shape).to(question.inputs) * question.present


def blocks(question: Question) -> Tensor:
    """The block of each unit (K,), at most about `BLOCKS` of them, as cubic as the grid allows."""
    shape = sides(question.units)
    units = question.present.shape[1]
    if units <= BLOCKS:
        return torch.arange(units, device=question.inputs.device)
    side, block = 1, torch.zeros(shape, dtype=torch.int64)
    while torch.Size([-(-length // side) for length in shape]).numel() > BLOCKS:
        side += 1
    for axis, length in enumerate(shape):
        place = torch.arange(length) // side
        spare = [1] * (len(shape) - axis - 1)
        block = block * (int(place.max()) + 1) + place.reshape(-1, *spare)
    return block.flatten().to(question.inputs.device)


def searched(question: Question) -> Tensor:
    """What the decision loses when one block of units is taken away (N, K): the model itself is asked.

    One block at a time, so what only works together is missed: it is a strong order and not the best one.
    """
    of = blocks(question)
    gone = of[None, :] == torch.arange(int(of.max()) + 1, device=of.device)[:, None]
    keep = (~gone)[None].expand(len(question.inputs), -1, -1)
    whole = asked(question.probability, question, question.inputs, question.rows())
    return (whole[:, None] - masked(question.probability, question, keep))[:, of] * question.present
