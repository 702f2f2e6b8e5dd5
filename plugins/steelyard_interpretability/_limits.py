# pyright: reportUnknownMemberType=false
"""What a limit leaves time and memory for."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from steelyard.runs import Run
from steelyard_interpretability._samples import evenly_spaced
from steelyard_interpretability.methods.question import CHUNK, Question

PILOT = 2
"""Examples that are explained first, to learn what one costs."""
LEAST = 1 / 8
"""The smallest share of its steps and draws that a method is left with; below it the examples get fewer."""
CACHE = 3 * 2**22
"""Bytes that a pass on a CPU had best keep, as measured on small nets: beyond it memory is waited for, and far below it
the calls cost more than the sums."""
FEWEST, MOST = 16, 1024
"""Inputs in one pass on a CPU where memory allows them."""
LATE = "the deadline left no time for it"
"""Why a method, or a concept, was not looked at."""
AMPLE = 2
"""Times the price: where that fits, nothing more is tried."""
COPIES = 2
"""A backward pass holds about as much in gradients as the forward pass has kept for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done.

    Attributes:
        effort: The share of all steps and draws, 1/8 to 1.
        places: Which of the chosen examples, evenly spaced among them.
        words: What the limit took away; empty for nothing.
    """

    effort: float
    places: tuple[int, ...]
    words: str = field(default="")


def planned(
    act: Callable[[Sequence[int], float], object],
    *,
    count: int,
    extra: int,
    max_seconds: float | None,
    started: float,
    times: int = 1,
    what: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Plan:
    """Takes first steps and draws away, down to an eighth of them, and then examples, down to two.

    Two examples are explained at an eighth of the effort, and at twice as much for as long as all would be done in
    time at that price. Only what was paid for once is promised: no estimate rests on a smaller effort than is taken,
    unless twice the price of the whole effort, at most eight times that of an eighth, leaves time.

    Args:
        act: Explains the examples at these places with this share of the effort.
        count: Examples that were chosen.
        extra: How many more will be paid for at the same price: those of the pictures.
        max_seconds: From `started`; None for no limit, and then nothing is tried.
        started: By the clock.
        times: How often each example will be paid for at that price.
        what: The limit in words; empty for `max_seconds`.
        clock: In seconds.
    """
    if max_seconds is None:
        return Plan(effort=1.0, places=tuple(range(count)))
    ends = started + max_seconds
    pilot = evenly_spaced(count, count=PILOT)

    def price(effort: float) -> float:
        begun = clock()
        act(pilot, effort)
        return times * (clock() - begun) / len(pilot)

    effort = LEAST
    each = price(effort)
    if AMPLE * each / effort * (count + extra) <= ends - clock():
        return Plan(effort=1.0, places=tuple(range(count)))
    while effort < 1 and 2 * each * (count + extra + len(pilot)) <= ends - clock():
        effort *= 2
        each = price(effort)
    left = ends - clock()
    fits = count if each * (count + extra) <= left else int(left / each * count / (count + extra))
    fits = min(count, max(PILOT, fits))
    lost = [f"{effort:.3g} of the steps and draws"] if effort < 1 else []
    lost += [f"{fits} of {count} examples"] if fits < count else []
    words = f"{what or f'max_seconds={max_seconds:g}'} left time for {' and '.join(lost)}" if lost else ""
    return Plan(effort=effort, places=evenly_spaced(count, count=fits), words=words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The shorter of what a plugin allows itself and what the run's deadline leaves.

    Attributes:
        seconds: From the start; None for no limit.
        what: Which limit it is, in words.
    """

    seconds: float | None
    what: str


def left_of(run: Run, *, max_seconds: float | None, started: float) -> Left:
    """What there is time for.

    Args:
        run: With its deadline.
        max_seconds: Of the plugin.
        started: `time.monotonic()` when it began.
    """
    rest = None if run.deadline is None else max(0.0, run.deadline - started)
    if rest is not None and (max_seconds is None or rest < max_seconds):
        return Left(seconds=rest, what="the deadline")
    return Left(seconds=max_seconds, what="" if max_seconds is None else f"max_seconds={max_seconds:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """How much the model sees at a time.

    Attributes:
        at_once: Inputs in one pass.
        words: What the limit did; empty for nothing.
    """

    at_once: int
    words: str


def fitting(question: Question, *, max_memory_mb: float | None) -> Passes:
    """As many inputs in one pass as go fastest, if what it keeps for its gradient, and the gradient, stay in the limit.

    The size of passes changes no number beyond rounding, so memory takes neither steps nor examples.

    Args:
        question: Its first input is looked at; the others are taken to cost as much.
        max_memory_mb: MiB; None for no limit.
    """
    each = _kept(question) + question.inputs[0].numel() * question.inputs.element_size()
    cpu = question.inputs.device.type == "cpu"
    best = max(FEWEST, min(MOST, CACHE // max(1, each))) if cpu else CHUNK
    if max_memory_mb is None:
        return Passes(at_once=best, words="")
    fits = int(max_memory_mb * 2**20 / max(1, COPIES * each))
    if fits >= best:
        return Passes(at_once=best, words="")
    if fits < 1:
        least = f"one input alone takes about {COPIES * each / 2**20:.0f} MiB"
        return Passes(at_once=1, words=f"max_memory_mb={max_memory_mb:g} is too little: {least}")
    return Passes(at_once=fits, words=f"max_memory_mb={max_memory_mb:g} allows {fits} inputs in one pass")


def _kept(question: Question) -> int:
    """Bytes that the forward pass of the first input keeps for its gradient, beside the weights."""
    kept: dict[int, int] = {}
    held = () if question.task is None else (*question.task.parameters(), *question.task.buffers())
    # A layer may keep a view of its weights, which is no leaf but takes no memory either.
    weights = {tensor.untyped_storage().data_ptr() for tensor in held}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and not (tensor.is_leaf and tensor.requires_grad):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        question.score(question.inputs[:1].clone().requires_grad_(), question.rows()[:1])
    return sum(kept.values())
