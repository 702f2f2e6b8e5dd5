"""`plan.largest_batch=true`: how large `data.batch_size` may be."""

import functools
from collections.abc import Callable, Sized
from typing import Any

from omegaconf import DictConfig, OmegaConf

from steelyard import building, randomness
from steelyard.advising.advice import limit_of, need
from steelyard.advising.finding import Found, largest
from steelyard.estimating._heap import LEAN, rules_of
from steelyard.estimating.in_words import size
from steelyard.estimating.machines import CONTEXT, GIB, machine
from steelyard.estimating.settings import Planning
from steelyard.planning import foreseen
from steelyard.problem import refuse

PATH = "data.batch_size"
HEADROOM = 0.95
"""Of what is free: other processes take some, too."""
WORTH = 1.1
"""A batch so many times as large is worth slower steps."""


def largest_batch(config: DictConfig, settings: Planning) -> str:
    """The answer for the terminal; each look is a rehearsal on tensors without numbers, so nothing can run out.

    Raises:
        Refused: If the data has no `batch_size`, or the task cannot be rehearsed.
    """
    start = OmegaConf.select(config, PATH)
    if not isinstance(start, int):
        raise refuse(f"the data has no option {PATH}", fix="plan.largest_batch=false")
    limit = _limit(config, settings)
    estimated, most = functools.cache(functools.partial(_estimated, config)), _examples(config)

    def fitting(bytes_of: Callable[[Any], int], *, start: int) -> Found:
        return largest(lambda rows: bytes_of(estimated(rows)), start=start, most=most, limit=limit)

    if settings.machine is not None:
        card = machine(settings.machine)
        return in_words(fitting(lambda estimate: estimate.gpu_bytes(card.major), start=start), limit=limit)
    found = fitting(need, start=start)
    text = in_words(found, limit=limit)
    if found.capped or not rules_of().dynamic or not estimated(found.rows or 1).held_lean:
        return text
    more = fitting(functools.partial(need, lean=True), start=found.rows or 1)
    return f"{text}\n{_with_lean(more)}" if more.rows > WORTH * found.rows else text


def in_words(found: Found, *, limit: int) -> str:
    """One line."""
    looks = f"{found.looks} predictions, no step"
    if not found.rows:
        return f"  largest batch  not even one example fits into {size(limit)} ({looks})"
    why = "all of the training data" if found.capped else f"{size(limit)} may be taken"
    return f"  largest batch  {PATH}={found.rows}: {size(found.need)}, {why} ({looks})"


def _with_lean(found: Found) -> str:
    before = " ".join(f"{name}={value}" for name, value in LEAN.items())
    more = f"{PATH}={found.rows}: {size(found.need)}, slower steps"
    return f"{'or':>15}  {before} steelyard run ... {more} ({found.looks} predictions, no step)"


def _limit(config: DictConfig, settings: Planning) -> int:
    """Bytes that may be taken."""
    if settings.machine is not None:
        room = settings.gb * 1e9 if settings.gb is not None else (machine(settings.machine).gib - CONTEXT) * GIB
        return int(HEADROOM * room)
    room = limit_of(config, settings)
    return room if settings.gb is not None else int(HEADROOM * room)


def _estimated(config: DictConfig, rows: int) -> Any:
    made = config.copy()
    OmegaConf.update(made, PATH, rows)
    forecast = foreseen(made)
    if forecast.estimate is None:
        raise refuse(f"the task cannot be rehearsed: {' '.join(forecast.notes)}", fix="plan.largest_batch=false")
    return forecast.estimate


def _examples(config: DictConfig) -> int:
    with randomness.forked():
        dataset: Any = building.make_data(config).train_dataloader().dataset
    if not isinstance(dataset, Sized):
        raise refuse("the training data does not say how many examples it has", fix="plan.largest_batch=false")
    return len(dataset)
