"""The live half of `stability.noise`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.runs import Run
from steelyard.statistics import proportion
from steelyard_stability._draws import draws
from steelyard_stability._intervals import paired_drop
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
    """What the model decided on the examples that were looked at.

    Attributes:
        targets: What is right (N,).
        clean: Decisions on the clean inputs (N,).
        noisy: Level -> decisions (N,).
        moved: Why level 0 changed an output, or "".
        whole: False where the deadline came first.
    """

    targets: Tensor
    clean: Tensor
    noisy: dict[float, Tensor]
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
        for row in _rows(answers, _note(run, answers)):
            told = replace(row, meaning=MEANINGS[row.name])
            yield replace(told, status=Status.INVALID, note=f"{doubt}; {row.note}") if doubt else told


@torch.no_grad()
def ask(run: Run, levels: list[float]) -> Answers:
    """The model's decisions on the test split, clean and at every level, in batches of the data module."""
    adapter, decide = run.adapter, run.adapter.scoring.decisions
    scale = _scale(run)
    targets: list[Tensor] = []
    clean: list[Tensor] = []
    noisy: dict[float, list[Tensor]] = {level: [] for level in levels}
    moved, first, whole = "", 0, True
    for raw in run.loader(SPLIT):
        if run.deadline is not None and first and time.monotonic() > run.deadline:
            whole = False
            break
        batch = run.to_device(raw)
        inputs = adapter.inputs(batch)
        noise = scale.to(inputs) * draws(run.seed, first=first, like=inputs)
        outputs = adapter.outputs(run.task, inputs)
        for level in levels:
            # Asked again at level 0 and not copied: a model that draws random numbers answers differently.
            shifted = adapter.clip(inputs + level * noise)
            answer = adapter.outputs(run.task, shifted)
            if level == 0 and not moved and not torch.equal(answer, outputs):
                same = torch.equal(shifted, inputs)
                moved = _NOT_DETERMINISTIC if same else f"inputs lie outside the raw range {adapter.bounds}"
            noisy[level].append(decide(answer).cpu())
        targets.append(adapter.targets(batch).cpu())
        clean.append(decide(outputs).cpu())
        first += len(inputs)
    return Answers(
        targets=torch.cat(targets),
        clean=torch.cat(clean),
        noisy={level: torch.cat(parts) for level, parts in noisy.items()},
        moved=moved,
        whole=whole,
    )


_NOT_DETERMINISTIC = "the same input gave another output: the model is not deterministic"


def _scale(run: Run) -> Tensor:
    """1 where the data has a raw range, else the standard deviation of every input value over the split."""
    if run.adapter.bounds is not None:
        return torch.ones(())
    inputs = torch.cat([run.adapter.inputs(batch).double() for batch in run.loader(SPLIT)])
    return inputs.std(dim=0, correction=0)


def _doubt(answers: Answers) -> str:
    """The control that failed, or ""."""
    if answers.moved:
        return f"control at level 0 failed: {answers.moved}"
    constant = len(answers.clean) > 1 and bool((answers.clean == answers.clean[0]).all())
    if constant and all(torch.equal(noisy, answers.clean) for noisy in answers.noisy.values()):
        return f"the model decides {int(answers.clean[0])} for every input, so nothing could ever change its decision"
    return ""


def _note(run: Run, answers: Answers) -> str:
    bounds, unit = run.adapter.bounds, run.adapter.unit
    where = (
        f"level in {unit}, clipped to {bounds[0]:g}..{bounds[1]:g}"
        if bounds
        else f"level in standard deviations of each input value over the {SPLIT} split"
    )
    cut = "" if answers.whole else f"; the deadline left time for the first {len(answers.clean)} examples"
    return f"Gaussian noise, one draw per example, {where}{cut}"


def _rows(answers: Answers, note: str) -> Iterator[Measurement]:
    count = len(answers.clean)
    right = answers.clean == answers.targets
    flips = {level: int((noisy != answers.clean).sum()) for level, noisy in answers.noisy.items()}
    highest = max(answers.noisy)
    yield proportion(
        "worst_flips", flips[highest], count, better=Better.LOWER, split=SPLIT, note=f"at level {highest:g}; {note}"
    )
    for level in answers.noisy:
        at = {"level": level}
        yield proportion("flips", flips[level], count, better=Better.LOWER, split=SPLIT, at=dict(at), note=note)
    for level, noisy in answers.noisy.items():
        still = noisy == answers.targets
        at = {"level": level}
        yield proportion("accuracy", int(still.sum()), count, better=Better.HIGHER, split=SPLIT, at=dict(at), note=note)
        drop, interval = paired_drop(lost=int((right & ~still).sum()), gained=int((~right & still).sum()), count=count)
        yield Measurement(
            name="accuracy_drop",
            value=drop,
            better=Better.LOWER,
            interval=interval,
            count=count,
            at=dict(at),
            split=SPLIT,
            note=f"paired with the clean answer; {note}",
        )
