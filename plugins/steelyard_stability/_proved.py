# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Bounds of the plain model over the examples of a run, held against an attack."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from steelyard.measurement import Better, Measurement, Status
from steelyard.runs import Run
from steelyard.statistics import proportion
from steelyard_stability._bounds import Box, doubled, margins
from steelyard_stability._staging import SPLIT, Stage, chosen, stages, unit
from steelyard_stability.attacks import Attack, Norm, Plan, cascade
from steelyard_stability.certified import Certified

SIZE = 16
"""Examples at once: each has a bound for every place of a layer."""
ATTACK = Plan(attacks=[Attack.PGD, Attack.MARGIN], steps=20, restarts=1)
ALIKE = 1e-3
"""Of the largest logit: by how much the layers one after the other may differ from the model."""
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
        try:
            layers = doubled(chain(run, stage))
        except ValueError as error:
            for name, meaning in MEANINGS.items():
                yield Measurement(name=name, status=Status.SKIPPED, note=str(error), meaning=meaning, split=SPLIT)
            return
        for column, radius in zip(columns, plugin.bounds, strict=True):
            column.append(_column(replace(stage, spread=None), layers, radius))
    for column, radius in zip(columns, plugin.bounds, strict=True):
        yield from _rows(run, column, radius, wanted=len(numbers))


def chain(run: Run, stage: Stage) -> list[nn.Module]:
    """The layers that make the outputs of the inputs, one after the other.

    Raises:
        ValueError: If the model is no such chain: layers that branch, or are called by a function.
    """
    calls: list[nn.Module] = []
    leaves = [layer for layer in run.task.modules() if not [*layer.children()]]
    handles = [layer.register_forward_hook(_noting(calls)) for layer in leaves]
    plain = replace(stage, spread=None)
    rows = torch.arange(len(stage.numbers), device=stage.inputs.device)
    try:
        outputs = plain.ask(stage.inputs, rows)
    finally:
        for handle in handles:
            handle.remove()
    # Elsewhere, too: two answers may agree by chance on inputs that are alike.
    moved = run.adapter.clip(stage.inputs.flip(0) * 0.5 + 0.25)
    with torch.no_grad():
        for point, said in ((stage.inputs, outputs), (moved, plain.ask(moved, rows))):
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


def _column(stage: Stage, layers: Sequence[nn.Module], radius: float) -> _Column:
    scene = stage.scene(norm=Norm.LINF, radius=radius, batch=SIZE)
    region = scene.ball.around(stage.inputs)
    # In doubles, and so wide that the rounding of the ball's edge lies inside.
    slack = 1e-6 * radius
    box = Box(low=region.low.double() - slack, high=region.high.double() + slack)
    least = torch.cat(
        [
            margins(layers, Box(low=box.low[part], high=box.high[part]), stage.decisions[part])
            for part in torch.arange(len(stage.numbers)).split(SIZE)
        ]
    )
    return _Column(proved=(least > 0).cpu(), broken=cascade(scene, ATTACK).fooled.cpu(), right=stage.marks.bool().cpu())


def _rows(run: Run, found: Sequence[_Column], radius: float, *, wanted: int) -> Iterator[Measurement]:
    sure, broken, right = (torch.cat([getattr(one, name) for one in found]) for name in ("proved", "broken", "right"))
    count, wrong = len(sure), int((sure & broken).sum())
    less = "" if count == wanted else f"; time was up after {count} of {wanted} examples"
    note = (
        f"linear bounds (CROWN) in doubles of the plain model, every value changed by at most the radius, in "
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
        yield replace(row, status=status)
