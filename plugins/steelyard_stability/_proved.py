# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Bounds of the plain model over the examples of a run, held against an attack."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steelyard.measurement import Better, Measurement, Status
from steelyard.runs import Run
from steelyard.statistics import proportion
from steelyard_stability._bounds import Box, doubled, margins
from steelyard_stability._staging import SPLIT, Stage, chosen, stages, unit
from steelyard_stability.attacks import Attack, Norm, Plan, cascade
from steelyard_stability.certified import Certified, Prover

SIZE = 4
"""Examples at once: a place that one of them leaves undecided is bounded for all, and of many nearly every place is."""
ATTACK = Plan(attacks=[Attack.PGD, Attack.MARGIN], steps=20, restarts=1)
ALIKE = 1e-3
"""Of the largest logit: by how much the layers one after the other may differ from the model."""
MORE = "stability.certified.bounds_by=auto_lirpa knows bounds of more kinds of layers"
MEANINGS = {
    "proved": "share of the test examples on which it is proved that no change of any value by at most the radius "
    "changes the plain model's decision",
    "proved_accuracy": "the same, and the decision is right",
    "open": "share of the test examples on which neither a proof nor an attack was found within the radius",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    proved: Tensor
    broken: Tensor
    right: Tensor


def proved(run: Run, plugin: Certified, *, until: float | None) -> Iterator[Measurement]:
    """Shares that are proved, and those that are open, at every radius of `bounds`."""
    columns: list[list[_Column]] = [[] for _ in plugin.bounds]
    numbers = chosen(run, count=plugin.examples)
    for stage in stages(run, numbers, size=SIZE, spread=unit(run)):
        if columns[0] and until is not None and time.monotonic() >= until:
            break
        raw = replace(stage, spread=None)
        try:
            proof = _proof(raw, plugin.bounds_by)
            sure = [proof(_box(raw, radius), raw.decisions) > 0 for radius in plugin.bounds]
        except ValueError as error:
            more = "" if plugin.bounds_by is Prover.AUTO_LIRPA else f"; {MORE}"
            for name, meaning in MEANINGS.items():
                yield Measurement(name=name, status=Status.SKIPPED, note=f"{error}{more}", meaning=meaning, split=SPLIT)
            return
        for column, radius, held in zip(columns, plugin.bounds, sure, strict=True):
            broken = cascade(raw.scene(norm=Norm.LINF, radius=radius, batch=SIZE), ATTACK).fooled
            column.append(_Column(proved=held.cpu(), broken=broken.cpu(), right=raw.marks.bool().cpu()))
    for column, radius in zip(columns, plugin.bounds, strict=True):
        yield from _rows(run, column, radius, by=plugin.bounds_by, wanted=len(numbers))


def _proof(stage: Stage, prover: Prover) -> Callable[[Box, Tensor], Tensor]:
    """By how much the decisions (B,) exceed all others at least on a box around the examples of the stage (B,)."""
    if prover is Prover.AUTO_LIRPA:
        # Imported here: few have it.
        from steelyard_stability._lirpa import Library

        return Library(stage).margins
    return partial(margins, doubled(chain(stage)))


def chain(stage: Stage) -> list[nn.Module]:
    """The layers that make the outputs of the inputs, one after the other; radii are in raw units.

    Raises:
        ValueError: If the model is no such chain: layers that branch, or are called by a function.
    """
    calls: list[nn.Module] = []
    leaves = [layer for layer in stage.run.task.modules() if not [*layer.children()]]
    handles = [layer.register_forward_hook(_noting(calls)) for layer in leaves]
    rows = torch.arange(len(stage.numbers), device=stage.inputs.device)
    try:
        outputs = stage.ask(stage.inputs, rows)
    finally:
        for handle in handles:
            handle.remove()
    # Elsewhere, too: two answers may agree by chance on inputs that are alike.
    moved = stage.run.adapter.clip(stage.inputs.flip(0) * 0.5 + 0.25)
    with torch.no_grad():
        for point, said in ((stage.inputs, outputs), (moved, stage.ask(moved, rows))):
            try:
                again = nn.Sequential(*calls)(point)
            except RuntimeError as error:
                raise ValueError(_no_chain(calls)) from error
            far = again.shape != said.shape or float((again - said).abs().max()) > ALIKE * float(said.abs().max())
            if far:
                raise ValueError(_no_chain(calls))
    return calls


def _noting(calls: list[nn.Module]) -> Callable[..., None]:
    def note(layer: nn.Module, given: Any, output: Any) -> None:
        del given, output
        calls.append(layer)

    return note


def _no_chain(calls: Sequence[nn.Module]) -> str:
    names = ", ".join(dict.fromkeys(type(layer).__name__ for layer in calls))
    return f"the model is no plain chain of its layers ({names}), and of others no bound is known here"


def _box(stage: Stage, radius: float) -> Box:
    """In doubles, and so wide that the rounding of the ball's edge lies inside."""
    region = stage.scene(norm=Norm.LINF, radius=radius, batch=SIZE).ball.around(stage.inputs)
    slack = 1e-6 * radius
    return Box(low=region.low.double() - slack, high=region.high.double() + slack)


def _rows(run: Run, found: Sequence[_Column], radius: float, *, by: Prover, wanted: int) -> Iterator[Measurement]:
    sure, broken, right = (torch.cat([getattr(one, name) for one in found]) for name in ("proved", "broken", "right"))
    count, wrong = len(sure), int((sure & broken).sum())
    less = "" if count == wanted else f"; time was up after {count} of {wanted} examples"
    whose = "CROWN by auto_LiRPA" if by is Prover.AUTO_LIRPA else "CROWN"
    note = (
        f"linear bounds ({whose}) in doubles of the plain model, every value changed by at most the radius, in "
        f"{run.adapter.unit}; in exact arithmetic; PGD contradicts none of them{less}"
    )
    status = Status.MEASURED
    if wrong:
        status, note = Status.INVALID, f"an attack changes {wrong} decisions that were proved not to change"
    for name, held, better in (
        ("proved", sure, Better.HIGHER),
        ("proved_accuracy", sure & right, Better.HIGHER),
        ("open", ~sure & ~broken, Better.LOWER),
    ):
        row = proportion(
            name,
            int(held.sum()),
            count,
            better=better,
            split=SPLIT,
            at={"radius": float(radius)},
            note=note,
            meaning=MEANINGS[name],
        )
        yield replace(row, status=status, at_unit=run.adapter.unit)
