# pyright: reportUnknownMemberType=false
"""The live half of `stability=calibration`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.adapters import ClassScoring
from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Picture, Status
from steelyard.runs import Run
from steelyard.statistics import interval_round_mean, proportion
from steelyard_stability._pictures import reliability_diagram
from steelyard_stability._reliability import (
    Floats,
    binned,
    brier,
    conformal_threshold,
    log_losses,
    null_errors,
    softmax,
    temperature,
)
from steelyard_stability.calibration import Calibration

SPLIT, HELD = "test", "val"
MEANINGS = {
    "error": "how far the model's certainty and how often it is right lie apart, on average",
    "error_null": "what a perfectly calibrated model would show on as many examples; below it there is nothing to mend",
    "overconfidence": "how much surer the model is than it is right, on average; below 0 it is too modest",
    "brier": "how far the model's probabilities lie from the truth; 0 is perfect, 2 is surely wrong",
    "nll": "how little the model believed in the right answer, on average; 0 is certain and always right",
    "temperature": "how much the model's certainty must be cooled down to fit; above 1 it is too sure",
    "error_scaled": "how far certainty and being right lie apart once the certainty was cooled down",
    "set_coverage": "share of the examples whose right answer is in the set of answers that the model cannot rule out",
    "set_size": "answers that the model cannot rule out, on average",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A split through the model, or its beginning."""

    logits: Floats
    targets: NDArray[np.int64]
    whole: bool

    @property
    def probabilities(self) -> Floats:
        return softmax(self.logits)


@final
class CalibrationAttachment(Attachment):
    """Looks at the probabilities of the validation and the test split."""

    def __init__(self, plugin: Calibration) -> None:
        self._plugin = plugin

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The error with its null band, the Brier score, the temperature, and the sets."""
        if not isinstance(run.adapter.scoring, ClassScoring):
            for name in ("error", "brier", "nll", "temperature", "set_coverage"):
                yield Measurement(
                    name=name,
                    status=Status.SKIPPED,
                    note="the task does not choose one of several classes, so there are no probabilities of classes",
                    meaning=MEANINGS[name],
                )
            return
        test, held = (_seen(run, split, most=self._plugin.examples) for split in (SPLIT, HELD))
        yield from self._error(run, test)
        yield from self._scaled(held, test)
        yield from self._sets(held, test)

    def _error(self, run: Run, test: _Seen) -> Iterator[Measurement | Artefact]:
        plugin, probabilities = self._plugin, test.probabilities
        confidence, right = _decided(probabilities, test.targets)
        found = binned(confidence, right, bins=plugin.bins)
        null = null_errors(confidence, bins=plugin.bins, draws=plugin.draws, seed=run.seed)
        edge = float(np.quantile(null, 0.95))
        inside = found.error <= edge
        words = (
            f"{plugin.bins} bins of equal width; a perfectly calibrated model shows up to {edge:.3g} in 19 of 20 cases"
        )
        words += "" if test.whole else f"; the first {len(right)} examples of the split"
        yield Measurement(
            name="error",
            value=found.error,
            better=Better.LOWER,
            count=len(right),
            split=SPLIT,
            note=f"{words}: {'this one cannot be told from it' if inside else 'this one shows more'}",
            meaning=MEANINGS["error"],
        )
        yield Measurement(
            name="error_null",
            value=float(null.mean()),
            interval=(float(np.quantile(null, 0.025)), float(np.quantile(null, 0.975))),
            count=len(right),
            split=SPLIT,
            note=f"mean and range of {plugin.draws} worlds in which these probabilities are true",
            meaning=MEANINGS["error_null"],
        )
        yield _mean(
            "overconfidence",
            confidence - right,
            better=None,
            note="mean confidence minus accuracy, paired",
            between=(-1, 1),
        )
        yield _mean(
            "brier",
            brier(probabilities, test.targets),
            better=Better.LOWER,
            note="summed over the classes",
            between=(0, 2),
        )
        losses = log_losses(test.logits, test.targets)
        yield _mean("nll", losses, better=Better.LOWER, note="minus log probability of the truth", unit="nats")
        yield Picture(
            name="reliability",
            title="Is the model as often right as it is sure?",
            png=reliability_diagram(found),
            alt=f"Share of right decisions over confidence, in {plugin.bins} bins; expected calibration error "
            f"{found.error:.3g}.",
            split=SPLIT,
        )

    def _scaled(self, held: _Seen, test: _Seen) -> Iterator[Measurement]:
        heat = temperature(held.logits, held.targets)
        confidence, right = _decided(softmax(test.logits / heat), test.targets)
        yield Measurement(
            name="temperature",
            value=heat,
            count=len(held.targets),
            split=HELD,
            note="fitted on the validation split; it changes no decision",
            meaning=MEANINGS["temperature"],
        )
        yield Measurement(
            name="error_scaled",
            value=binned(confidence, right, bins=self._plugin.bins).error,
            better=Better.LOWER,
            count=len(right),
            split=SPLIT,
            note=f"logits divided by {heat:.3g}",
            meaning=MEANINGS["error_scaled"],
        )

    def _sets(self, held: _Seen, test: _Seen) -> Iterator[Measurement]:
        wanted = self._plugin.miscoverage
        edge = conformal_threshold(held.probabilities, held.targets, miscoverage=wanted)
        sets = test.probabilities >= edge
        caught = sets[np.arange(len(test.targets)), test.targets]
        few = "" if edge > 0 else f"; {len(held.targets)} validation examples are too few to rule anything out"
        note = (
            f"promised: {1 - wanted:.0%} on average over validation splits; by {len(held.targets):,} examples here{few}"
        )
        yield proportion(
            "set_coverage",
            int(caught.sum()),
            len(caught),
            better=None,
            split=SPLIT,
            note=note,
            meaning=MEANINGS["set_coverage"],
        )
        yield _mean(
            "set_size",
            sets.sum(axis=1).astype(np.float64),
            better=Better.LOWER,
            note=note,
            unit="classes",
            between=(0, sets.shape[1]),
        )


@torch.no_grad()
def _seen(run: Run, split: str, *, most: int) -> _Seen:
    logits: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    count, whole = 0, True
    for raw in run.loader(split):
        if count >= most:
            whole = False
            break
        batch = run.to_device(raw)
        logits.append(run.adapter.outputs(run.task, batch)[: most - count].double().cpu())
        targets.append(run.adapter.targets(batch)[: most - count].cpu())
        count, whole = count + len(targets[-1]), len(targets[-1]) == run.adapter.size(batch)
    found: Any = torch.cat(logits)
    if not bool(torch.isfinite(found).all()):
        raise ValueError(f"the task's outputs are not finite on the {split} split, so they are no probabilities")
    return _Seen(logits=found.numpy(), targets=torch.cat(targets).numpy(), whole=whole)


def _decided(probabilities: Floats, targets: NDArray[np.int64]) -> tuple[Floats, Floats]:
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == targets).astype(np.float64)


def _mean(
    name: str,
    values: Floats,
    *,
    better: Better | None,
    note: str,
    unit: str = "",
    between: tuple[float, float] = (-np.inf, np.inf),
) -> Measurement:
    mean, interval = interval_round_mean(values, low=between[0], high=between[1])
    return Measurement(
        name=name,
        value=mean,
        interval=interval,
        better=better,
        unit=unit,
        count=len(values),
        split=SPLIT,
        note=f"{note}; the interval is Student's",
        meaning=MEANINGS[name],
    )
