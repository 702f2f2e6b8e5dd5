"""The receipt: what was predicted of a training, beside what it took."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Trainer

from steelyard.estimating._shapes import Shape
from steelyard.estimating.estimate import Forecast
from steelyard.estimating.probing import reached, validated
from steelyard.measurement import Artefact, Better, Measurement, Status, Table
from steelyard_compute._memory import MIB
from steelyard_compute._telemetry import skipped

PROBED = 5
"""Steps from which time and energy of all others are told; the first of a run comes before them."""
FORWARD = 1 / 3
"""Of a training step, a batch of validation: the backward pass costs about two forward passes."""
PAIRS = {
    "predicted_memory": ("peak_memory", "MiB"),
    "predicted_flops": ("train_flops", "FLOP"),
    "predicted_seconds": ("train_seconds", "s"),
    "predicted_energy": ("energy", "J"),
}
"""What is predicted -> what it is held against."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a training had taken when a step ended."""

    seconds: float
    joules: float | None


class Receipt:
    """Predicts a training: memory and operations from shapes alone, time and energy from its first steps.

    Args:
        forecast: Made before anything was attached; None to predict nothing.
    """

    def __init__(self, forecast: Forecast | None) -> None:
        self._forecast = forecast
        self._marks: list[_Mark] = []
        self._batches = 0
        self._shapes: list[Shape] = []
        self._told: dict[str, float] = {}

    @property
    def watching(self) -> bool:
        """Whether a step that ends now is still of interest."""
        return self._forecast is not None and self._batches <= PROBED

    def state(self) -> dict[str, Any]:
        """What was predicted, for the checkpoint: a resumed run is held against the same."""
        return {"told": dict(self._told), "batches": self._batches}

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._told = dict(state["told"])
        # A session that begins in the middle of the probe measures no whole one.
        self._batches = PROBED + 1 if state["batches"] else 0

    def add(self, trainer: Trainer, shape: Shape, *, seconds: float, joules: float | None) -> None:
        """One more step has ended.

        Args:
            trainer: Knows how long the training will be.
            shape: Of the batch.
            seconds: Since training began.
            joules: Since training began; None where nobody can tell.
        """
        self._batches += 1
        if self._batches in (1, 1 + PROBED):
            self._marks.append(_Mark(seconds, joules))
        if self._batches > 1:
            self._shapes.append(shape)
        if self._batches == 1 + PROBED:
            self._predict(trainer)

    def rows(self, actual: Mapping[str, Measurement], device: torch.device) -> Iterator[Measurement | Artefact]:
        """Each prediction, and all of them beside what was measured.

        Args:
            actual: The measurements, by name.
            device: Where the training ran.
        """
        if self._forecast is None:
            return
        predicted = [*self._foreseen(self._forecast, device), *self._probed(self._forecast)]
        yield from predicted
        yield Table(
            name="receipt",
            title="Predicted and actual",
            columns=("what", "unit", "predicted", "actual", "off by"),
            rows=[_line(one, actual.get(PAIRS[one.name][0])) for one in predicted],
        )

    def _predict(self, trainer: Trainer) -> None:
        assert self._forecast is not None
        first, last = self._marks
        steps = self._forecast.steps
        whole = None if steps is None else steps * trainer.accumulate_grad_batches
        if whole is None or whole <= 1 + PROBED:
            return
        left = whole - 1 + FORWARD * _validated(trainer, batches=whole)
        if self._forecast.estimate is not None:
            # The steps that were timed may have had more to do than most, or less.
            left /= self._forecast.estimate.share(self._shapes)
        self._told["predicted_seconds"] = first.seconds + left * (last.seconds - first.seconds) / PROBED
        if first.joules is not None and last.joules is not None:
            self._told["predicted_energy"] = first.joules + left * (last.joules - first.joules) / PROBED

    def _foreseen(self, forecast: Forecast, device: torch.device) -> Iterator[Measurement]:
        estimate = forecast.estimate
        if estimate is None:
            why = "; ".join(forecast.notes) or "the task cannot be rehearsed"
            yield skipped("predicted_memory", why, "MiB")
            yield skipped("predicted_flops", why, "FLOP")
            return
        rest = "; ".join(("", *forecast.notes))
        need = estimate.process_bytes
        kept = " and what the allocator of the CPU holds beside them" if need > estimate.tensor_bytes else ""
        if device.type == "cuda":
            need = estimate.gpu_bytes(torch.cuda.get_device_capability(device)[0])
            kept = " and the workspaces of cuBLAS"
        note = f"from shapes alone, before the first step: {estimate.tensor_bytes / MIB:.1f} MiB of tensors at the peak"
        yield _predicted("predicted_memory", need / MIB, note + kept + rest)
        if forecast.steps is None:
            yield skipped("predicted_flops", "the length of the training is open", "FLOP")
            return
        uncounted = "".join(f"; not in it: {what}" for what in estimate.uncounted)
        note = f"from shapes alone, before the first step: {estimate.flops:,} a step for {forecast.steps:,} steps"
        yield _predicted("predicted_flops", estimate.flops * forecast.steps, note + uncounted + rest)

    def _probed(self, forecast: Forecast) -> Iterator[Measurement]:
        if self._told:
            why = "no meter told the energy of the first steps"
        else:
            short = f"the training was over before its first {1 + PROBED} steps could tell"
            why = "the length of the training is open" if forecast.steps is None else short
        for name, unit in (("predicted_seconds", "s"), ("predicted_energy", "J")):
            if name not in self._told:
                yield skipped(name, why, unit)
                continue
            uneven = forecast.estimate is not None and forecast.estimate.work
            mean = " and the operations of all" if uneven else ""
            note = f"when {1 + PROBED} steps were done: from steps 2 to {1 + PROBED}{mean}; a batch of validation as a"
            yield _predicted(name, self._told[name], f"{note} third of a step")


def _predicted(name: str, value: float, note: str) -> Measurement:
    return Measurement(
        name=name,
        value=value,
        status=Status.ESTIMATED,
        better=Better.LOWER,
        unit=PAIRS[name][1],
        timing=name in ("predicted_seconds", "predicted_energy"),
        note=f"{note}; held against {PAIRS[name][0]}",
    )


def _line(one: Measurement, actual: Measurement | None) -> tuple[str | float | None, ...]:
    measured = None if actual is None else actual.value
    off = "" if one.value is None or not measured else f"{one.value / measured - 1:+.1%}"
    return (PAIRS[one.name][0], one.unit, one.value, measured, off)


def _validated(trainer: Trainer, *, batches: int) -> float:
    """Batches of validation in a training of so many batches, about: `max_steps` may end it before its epochs."""
    each = sum(float(count) for count in trainer.num_val_batches)
    every = trainer.check_val_every_n_epoch
    epochs = reached(trainer.max_epochs, batches=batches, epoch=trainer.num_training_batches)
    inside = trainer.num_training_batches / trainer.val_check_batch if trainer.val_check_batch else 1.0
    return validated(batches=each, epochs=epochs, every=every) * int(inside)
