"""Examples of a run, set up to be attacked through its adapter."""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steelyard.adapters import ClassScoring
from steelyard.runs import Run
from steelyard_stability.attacks import Aim, Ball, ClassAim, Norm, Scene, ScoringAim

SPLIT = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Some examples of the test split.

    Attributes:
        numbers: Their places in the split.
        batch: All of them, as the data module collates them.
        inputs: Their continuous view (N, ...).
        spread: What one unit of radius is in each value, shaped to be multiplied with the inputs; None for a raw unit.
        decisions: What the model decides on them (N, ...).
        marks: How right that is (N,).
        moved: Why the model would not repeat its answer on the unchanged view, or "".
    """

    run: Run
    numbers: tuple[int, ...]
    batch: Any
    inputs: Tensor
    spread: Tensor | None
    outputs: Any
    decisions: Tensor
    marks: Tensor
    moved: str

    def scene(self, *, norm: Norm, radius: float = 0.0, **settings: Any) -> Scene:
        """The decisions under attack: round the inputs, or round no change where a radius has another unit."""
        return Scene(
            aim=self.aim(),
            centre=self.inputs if self.spread is None else torch.zeros_like(self.inputs),
            numbers=torch.tensor(self.numbers, device=self.inputs.device),
            ball=Ball(norm=norm, radius=radius, bounds=self.run.adapter.bounds),
            seed=self.run.seed,
            **settings,
        )

    def aim(self) -> Aim:
        """The model's own decisions."""
        scoring = self.run.adapter.scoring
        if isinstance(scoring, ClassScoring):
            return ClassAim.of(self.ask, self.outputs)
        targets = self.run.adapter.targets(self.batch)
        return ScoringAim(ask=self.ask, scoring=scoring, decisions=self.decisions, targets=targets)

    def ask(self, point: Tensor, rows: Tensor) -> Any:
        """The raw output for points of the scene."""
        adapter = self.run.adapter
        part = adapter.take(self.batch, rows)
        return adapter.outputs(self.run.task, adapter.replace(part, self.view(point, rows)))

    def view(self, point: Tensor, rows: Tensor) -> Tensor:
        """A point of the scene as the model's input; padding stays as it is."""
        present = self.run.adapter.present(self.batch)
        if self.spread is None and present is None:
            return point
        clean = self.inputs[rows]
        # No change is no change of a single bit, whatever the spread.
        view = point if self.spread is None else clean + point * self.spread
        if present is None:
            return view
        known = present[rows]
        return torch.where(known.reshape(*known.shape, *[1] * (view.dim() - known.dim())), view, clean)

    def still(self, point: Tensor, rows: Tensor) -> Tensor:
        """How right the decisions on points of the scene are (b,)."""
        adapter = self.run.adapter
        targets = adapter.targets(self.batch)[rows]
        return adapter.scoring.marks(adapter.scoring.decisions(self.ask(point, rows), targets), targets).cpu()


def chosen(run: Run, *, count: int) -> list[int]:
    """Examples of the split in an order that the seed draws: any beginning of it stands for the whole."""
    dataset: Any = run.loader(SPLIT).dataset
    assert isinstance(dataset, Sized)
    order = np.random.default_rng([run.seed, len(dataset)]).permutation(len(dataset))
    return [int(number) for number in order[:count]]


def stages(run: Run, numbers: Sequence[int], *, size: int, spread: Tensor | None) -> Iterator[Stage]:
    """The examples, `size` at a time; `spread` is what one unit of radius is."""
    for first in range(0, len(numbers), size):
        yield stage(run, numbers[first : first + size], spread=spread)


@torch.no_grad()
def stage(run: Run, numbers: Sequence[int], *, spread: Tensor | None) -> Stage:
    """Those examples."""
    adapter, scoring = run.adapter, run.adapter.scoring
    batch = run.batch(SPLIT, numbers)
    inputs, targets = adapter.inputs(run.task, batch).detach(), adapter.targets(batch)
    plain = adapter.outputs(run.task, batch)
    outputs = adapter.outputs(run.task, adapter.replace(batch, inputs))
    decisions = scoring.decisions(outputs, targets)
    moved = ""
    if not torch.equal(adapter.clip(inputs), inputs):
        moved = f"inputs lie outside the raw range {adapter.bounds}"
    elif not torch.equal(plain, outputs):
        moved = "the same input gave another output: the model is not deterministic"
    return Stage(
        run=run,
        numbers=tuple(numbers),
        batch=batch,
        inputs=inputs,
        spread=spread if spread is None else spread.to(inputs),
        outputs=outputs,
        decisions=decisions,
        marks=scoring.marks(decisions, targets).cpu(),
        moved=moved,
    )


@torch.no_grad()
def unit(run: Run) -> Tensor | None:
    """The standard deviation of every input value over the split; None where the data has a raw range."""
    if run.adapter.bounds is not None:
        return None
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for raw in run.loader(SPLIT):
        batch = run.to_device(raw)
        view, present = run.adapter.inputs(run.task, batch), run.adapter.present(batch)
        flat = (view.flatten(end_dim=-2) if present is None else view[present].flatten(end_dim=-2)).double().cpu()
        # Added up batch by batch: memory does not grow with the split.
        count, total, squares = count + len(flat), total + flat.sum(dim=0), squares + flat.square().sum(dim=0)
    return (squares / count - (total / count).square()).clamp(min=0).sqrt()
