"""The live half of `stability.noise`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from steelyard.adapters import IGNORED
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.runs import Run
from steelyard.statistics import proportion
from steelyard_stability._accuracy import accuracy_rows
from steelyard_stability._draws import draws
from steelyard_stability.noise import Noise

SPLIT = "test"
MEANINGS = {
    "worst_flips": "share of the test examples whose answer changes when the strongest noise is added",
    "flips": "share of the test examples whose answer changes when noise of this strength is added",
    "accuracy": "share of the test examples that the model still decides right under noise of this strength",
    "accuracy_drop": "accuracy that the model loses to noise of this strength",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What became of the decisions on the examples that were looked at.

    Attributes:
        right: How right the clean decision is, from 0 to 1 (N,).
        flipped: Level -> whether the decision changed (N,).
        noisy: Level -> how right it still is (N,).
        constant: The one decision that the model makes for every clean input, or "".
        moved: Why level 0 changed an output, or "".
        whole: False where the deadline came first.
    """

    right: Tensor
    flipped: dict[float, Tensor]
    noisy: dict[float, Tensor]
    constant: str
    moved: str
    whole: bool


class NoiseAttachment(Attachment):
    """Asks the model about every test example once per level."""

    def __init__(self, plugin: Noise) -> None:
        self._levels = sorted({0.0, *plugin.levels})

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Flips without labels first, then accuracy."""
        answers = ask(run, self._levels)
        doubt = _doubt(answers)
        unit = run.adapter.unit if run.adapter.bounds else "standard deviations"
        for row in _rows(answers, _note(run, answers)):
            told = replace(row, meaning=MEANINGS[row.name], at_unit=unit if row.at else "")
            yield replace(told, status=Status.INVALID, note=f"{doubt}; {row.note}") if doubt else told


@torch.no_grad()
def ask(run: Run, levels: list[float]) -> Answers:
    """The model's decisions on the test split, clean and at every level, in batches of the data module."""
    adapter, scoring = run.adapter, run.adapter.scoring
    scale = _scale(run)
    right: list[Tensor] = []
    flipped: dict[float, list[Tensor]] = {level: [] for level in levels}
    noisy: dict[float, list[Tensor]] = {level: [] for level in levels}
    decided: dict[tuple[int, ...], str] = {}
    moved, first, whole = "", 0, True
    for raw in run.loader(SPLIT):
        if run.deadline is not None and first and time.monotonic() > run.deadline:
            whole = False
            break
        batch = run.to_device(raw)
        inputs, targets = adapter.inputs(run.task, batch), adapter.targets(batch)
        noise = scale.to(inputs) * draws(run.seed, first=first, like=inputs)
        outputs = adapter.outputs(run.task, batch)
        clean = scoring.decisions(outputs, targets)
        for level in levels:
            # Asked again at level 0 and not copied: a model that draws random numbers answers differently.
            shifted = adapter.clip(inputs + level * noise)
            answer = adapter.outputs(run.task, adapter.replace(batch, shifted))
            if level == 0 and not moved and not torch.equal(answer, outputs):
                same = torch.equal(shifted, inputs)
                moved = _NOT_DETERMINISTIC if same else f"inputs lie outside the raw range {adapter.bounds}"
            decisions = scoring.decisions(answer, targets)
            flipped[level].append(~scoring.same(decisions, clean).cpu())
            noisy[level].append(scoring.marks(decisions, targets).cpu())
        right.append(scoring.marks(clean, targets).cpu())
        if len(decided) < 2:
            for row in clean.cpu():
                said = tuple(scoring.said(row))
                # What cannot be told in words can still differ.
                decided[said or tuple(map(int, row[row != IGNORED]))] = adapter.told(said)
        first += len(inputs)
    return Answers(
        right=torch.cat(right),
        flipped={level: torch.cat(parts) for level, parts in flipped.items()},
        noisy={level: torch.cat(parts) for level, parts in noisy.items()},
        constant=next(iter(decided.values())) if len(decided) == 1 and first > 1 else "",
        moved=moved,
        whole=whole,
    )


_NOT_DETERMINISTIC = "the same input gave another output: the model is not deterministic"


def _scale(run: Run) -> Tensor:
    """1 where the data has a raw range, else the standard deviation of every input value over the split."""
    if run.adapter.bounds is not None:
        return torch.ones(())
    return torch.cat([*_values(run)]).std(dim=0, correction=0)


def _values(run: Run) -> Iterator[Tensor]:
    """The input values of the split, batch by batch, without padding: (places, width)."""
    for raw in run.loader(SPLIT):
        batch = run.to_device(raw)
        view, present = run.adapter.inputs(run.task, batch), run.adapter.present(batch)
        known = view.flatten(end_dim=-2) if present is None else view[present].flatten(end_dim=-2)
        yield known.detach().double().cpu()


def _doubt(answers: Answers) -> str:
    """The control that failed, or ""."""
    if answers.moved:
        return f"control at level 0 failed: {answers.moved}"
    if answers.constant and not any(bool(flipped.any()) for flipped in answers.flipped.values()):
        return f"the model decides {answers.constant} for every input, so nothing could ever change its decision"
    return ""


def _note(run: Run, answers: Answers) -> str:
    bounds, unit = run.adapter.bounds, run.adapter.unit
    where = (
        f"level in {unit}, clipped to {bounds[0]:g}..{bounds[1]:g}"
        if bounds
        else f"level in standard deviations of each input value over the {SPLIT} split"
    )
    cut = "" if answers.whole else f"; the deadline left time for the first {len(answers.right)} examples"
    return f"Gaussian noise, one draw per example, {where}{cut}"


def _rows(answers: Answers, note: str) -> Iterator[Measurement]:
    count = len(answers.right)
    flips = {level: int(flipped.sum()) for level, flipped in answers.flipped.items()}
    highest = max(answers.flipped)
    yield proportion(
        "worst_flips", flips[highest], count, better=Better.LOWER, split=SPLIT, note=f"at level {highest:g}; {note}"
    )
    for level in answers.flipped:
        at = {"level": level}
        yield proportion("flips", flips[level], count, better=Better.LOWER, split=SPLIT, at=dict(at), note=note)
    for level, still in answers.noisy.items():
        yield from accuracy_rows(answers.right, still, at={"level": level}, split=SPLIT, note=note)
