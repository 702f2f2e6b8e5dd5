"""The cascade over the examples of a run, some at a time, within a limit of time."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from steelyard.adapters import ClassScoring
from steelyard.runs import Run
from steelyard_stability._staging import Stage, chosen, stage, stages, unit
from steelyard_stability.adversarial import Adversarial
from steelyard_stability.attacks import LIKELIHOOD, Attack, Fall, Norm, Plan, Scene, Steps, best_batch, curve, pgd
from steelyard_stability.masking import Check, battery

CHUNK = 256
"""Examples in memory at once: what is kept of the others are a few numbers each."""
TESTED, FEWEST = 64, 16
"""Examples on which the attack itself is tested, and how many it takes for a rival to be surely better."""
LOOKS = 1000
"""About how often such an example goes through the model."""


PROBED, FEW, PARTS = 16, 8, 6
"""Examples by which the pace is judged, how few are decided together, and in how many parts those that time allows."""
QUERIES, QUERIES_OF_TEXTS = 200, 50
"""Questions of the black box attack, which finds next to nothing in embeddings that the gradient did not."""

SHOWN = 4
"""Examples whose worst input is kept to be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """An example that fell to a small change.

    Attributes:
        number: Its place in the split.
        radius: The smallest one that was enough.
        inputs: What fooled the model, as the model sees it (...).
    """

    number: int
    radius: float
    inputs: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Assault:
    """What became of N examples at R radii.

    Attributes:
        clean: How right the clean decision is, from 0 to 1 (N,).
        fooled: Whether the decision can be changed (R, N).
        finished: Whether that is known (R, N).
        marks: How right the decision on the worst input found is (R, N).
        by: For each radius, how many each attack was the first to fool.
        looks: Rows through the model.
        wanted: Examples that there should have been.
        doubts: The controls that failed.
        checks: The tests of the attack itself.
        obstacle: Why there is nothing to attack, or "".
        worst: The examples that fell first, those of the smallest radius before the others.
    """

    clean: Tensor
    fooled: Tensor
    finished: Tensor
    marks: Tensor
    by: Sequence[dict[str, int]]
    looks: int
    wanted: int
    doubts: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    obstacle: str = ""
    worst: tuple[Worst, ...] = ()


def assault(run: Run, plugin: Adversarial, *, until: float | None) -> Assault:
    """Attacks the examples that the plugin asks for.

    Args:
        run: The trained run.
        plugin: The settings.
        until: `time.monotonic()` at which the attack stops, or None; the first examples are always begun.
    """
    numbers, plan = chosen(run, count=plugin.examples), planned(run, plugin)
    parts: list[tuple[Tensor, ...]] = []
    by = [Counter[str]() for _ in plugin.radii]
    looks, batch, doubts, checks, worst = 0, plugin.batch, list[str](), list[Check](), list[Worst]()
    spread = unit(run)
    first = stage(run, numbers[:PROBED], spread=spread)
    if not first.inputs.is_floating_point():
        return _nothing(f"the inputs are whole numbers ({first.inputs.dtype}), which cannot be moved by a little")
    # All that there is time for, some at a time: an example that is begun is then most often decided, too.
    size = CHUNK if until is None else _affordable(first.scene(norm=Norm(plugin.norm)), plan.effort, until)
    for here in stages(run, numbers, size=size, spread=spread):
        if parts and until is not None and time.monotonic() >= until:
            break
        if here.moved and not doubts:
            doubts.append(f"control at radius 0 failed: {here.moved}")
        batch = best_batch(here.scene(norm=Norm(plugin.norm))) if batch is None else batch
        scene = here.scene(norm=Norm(plugin.norm), batch=batch, until=until)
        if plugin.masking and not checks:
            tested = here if size >= FEWEST else first
            checks.extend(_tested(tested.scene(norm=Norm(plugin.norm), batch=batch, until=until), plugin, plan))
        falls = curve(scene, plugin.radii, plan)
        fooled, finished, marks = _columns(here, falls)
        # The order of the radii is stable, so that earlier examples stay.
        worst = sorted([*worst, *_first(here, falls, plugin)], key=lambda one: one.radius)[:SHOWN]
        if not isinstance(run.adapter.scoring, ClassScoring):
            marks = torch.minimum(marks, _worst(here, scene, falls, plugin))
        parts.append((here.marks, fooled, finished, marks))
        for counter, fall in zip(by, falls, strict=True):
            counter.update(fall.by)
        looks += sum(fall.looks for fall in falls)
    clean, fooled, finished, marks = (torch.cat(column, dim=-1) for column in zip(*parts, strict=True))
    return Assault(
        clean=clean,
        fooled=fooled,
        finished=finished,
        marks=marks,
        by=by,
        looks=looks,
        wanted=len(numbers),
        doubts=(*doubts, *(f"{check.name.replace('_', ' ')}: {check.words}" for check in checks if check.flagged)),
        checks=tuple(checks),
        worst=tuple(worst),
    )


@torch.no_grad()
def _first(stage: Stage, falls: Sequence[Fall], plugin: Adversarial) -> list[Worst]:
    """The first rows that fell at the smallest radius at which any did, and so on, until there are enough."""
    found: dict[int, Worst] = {}
    for radius, fall in zip(plugin.radii, falls, strict=True):
        for row in map(int, fall.fooled.nonzero()[:, 0]):
            if row not in found and len(found) < SHOWN:
                rows = torch.tensor([row], device=fall.inputs.device)
                view = stage.view(fall.inputs[rows], rows)[0].clone()
                found[row] = Worst(number=stage.numbers[row], radius=float(radius), inputs=view)
    return [*found.values()]


def _affordable(scene: Scene, effort: int, until: float) -> int:
    """How many examples are decided together, by the pace of a few and what it takes to withstand a whole attack."""
    left = until - time.monotonic()
    count = int(left / max(_seconds(scene, scene.centre, left / CHUNK / effort) * effort, 1e-9))
    return CHUNK if count >= CHUNK else max(FEW, count // PARTS)


def _seconds(scene: Scene, points: Tensor, enough: float) -> float:
    """Of a look at one of these points; a first one that is slower than `enough` may be so for being the first."""
    rows = torch.arange(len(points), device=points.device)
    spent = torch.inf
    for _ in range(2):
        start = time.monotonic()
        scene.look(points, rows, LIKELIHOOD)
        spent = min(spent, (time.monotonic() - start) / len(rows))
        if spent <= enough:
            break
    return spent


def _tested(scene: Scene, plugin: Adversarial, plan: Plan) -> list[Check]:
    """The battery on the first examples, as many as half of the time is enough for; rivals need a few."""
    rows = torch.arange(min(TESTED, len(scene.centre)), device=scene.centre.device)
    rivals = True
    if scene.until is not None:
        half = (scene.until - time.monotonic()) / 2 / LOOKS
        afford = int(half / max(_seconds(scene, scene.centre[rows], half / len(rows)), 1e-9))
        rivals = afford >= FEWEST
        rows = rows[: max(FEWEST, afford)]
    here = replace(
        scene,
        centre=scene.centre[rows],
        numbers=scene.numbers[rows],
        ball=replace(scene.ball, radius=plugin.radii[-1]),
        until=None,
    )
    return [*battery(here, plan, least=plugin.radii[0], rivals=rivals)]


def planned(run: Run, plugin: Adversarial) -> Plan:
    """What is tried."""
    usual = QUERIES_OF_TEXTS if run.adapter.modality == "text" else QUERIES
    return Plan(
        attacks=[Attack(name) for name in plugin.attacks],
        steps=plugin.steps,
        restarts=plugin.restarts,
        targets=plugin.targets,
        queries=usual if plugin.queries is None else plugin.queries,
    )


@torch.no_grad()
def _columns(stage: Stage, falls: Sequence[Fall]) -> tuple[Tensor, Tensor, Tensor]:
    """Fooled, finished and marks (R, n) of one stage."""
    marks, seen = stage.marks.clone(), torch.zeros(len(stage.marks), dtype=torch.bool)
    rows: list[Tensor] = []
    for fall in falls:
        fooled = fall.fooled.cpu()
        new = (fooled & ~seen).nonzero()[:, 0].to(fall.inputs.device)
        if len(new):
            # What is no longer wrong was no stability either: an attack never makes a decision count for more.
            marks[new.cpu()] = torch.minimum(marks[new.cpu()], stage.still(fall.inputs[new], new))
        seen |= fooled
        rows.append(marks.clone())
    return (
        torch.stack([fall.fooled.cpu() for fall in falls]),
        torch.stack([fall.finished.cpu() for fall in falls]),
        torch.stack(rows),
    )


def _worst(stage: Stage, scene: Scene, falls: Sequence[Fall], plugin: Adversarial) -> Tensor:
    """How right an answer of many places still is when the attack goes on after the first change (R, n)."""
    rows, marks, start = torch.arange(len(stage.marks), device=scene.centre.device), stage.marks, scene.centre
    found: list[Tensor] = []
    for radius, fall in zip(plugin.radii, falls, strict=True):
        here = replace(scene, ball=replace(scene.ball, radius=radius))
        start = torch.where(_wide(fall.fooled, start), fall.inputs, start)
        start = pgd(here, rows, start, steps=Steps(count=plugin.steps, early=False)).inputs
        with torch.no_grad():
            marks = torch.minimum(marks, stage.still(start, rows))
        found.append(marks)
    return torch.stack(found)


def _wide(flags: Tensor, like: Tensor) -> Tensor:
    return flags.reshape(-1, *[1] * (like.dim() - 1))


def _nothing(obstacle: str) -> Assault:
    empty = torch.empty(0)
    return Assault(clean=empty, fooled=empty, finished=empty, marks=empty, by=[], looks=0, wanted=0, obstacle=obstacle)
