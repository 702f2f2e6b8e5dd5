"""The live half of `compute.cost`."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from steelyard._counting import parameters_in
from steelyard.adapters import Adapter
from steelyard.attachment import Attachment
from steelyard.devices import wait_for
from steelyard.estimating._flops import DEFINITION, FlopCount, compiled
from steelyard.estimating._shapes import shape_of
from steelyard.estimating.estimate import Forecast
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.runs import Run
from steelyard_compute._clock import Clock, Laps, in_words, spread
from steelyard_compute._memory import HighWater, Peak
from steelyard_compute._operations import Operations
from steelyard_compute._receipt import Receipt
from steelyard_compute._telemetry import Telemetry, seconds_of, skipped
from steelyard_compute.cost import Cost

NO_TRAINING = "there was no training in this run"
MEANINGS = {
    "step_seconds": "time that one training step takes",
    "peak_memory": "most memory that was in use at once during training",
    "parameters": "numbers that make up the model",
    "flops_per_step": "multiplications and additions of one training step",
    "examples_per_second": "training examples that the model works through in a second",
    "flops_per_example": "multiplications and additions that training spends on one example",
    "forward_flops_per_example": "multiplications and additions that the finished model needs for one answer",
    "train_flops": "multiplications and additions of the whole training",
    "train_seconds": "time from the start of training to its end",
    "trainable_parameters": "numbers of the model that training may change",
    "tokens_per_second": "tokens of text that the model learns from in a second",
    "mfu": "share of the speed of large matrix products on this machine that training reaches",
    "energy": "energy that training took",
    "process_memory": "most memory that the whole process held during training",
    "predicted_memory": "memory that training was expected to take before it began",
    "predicted_flops": "multiplications and additions that training was expected to take before it began",
    "predicted_seconds": "time that training was expected to take after its first steps",
    "predicted_energy": "energy that training was expected to take after its first steps",
    "hook_seconds": "time that a plugin took while training ran, beside what it changes inside a step",
    "measure_seconds": "time that a plugin took to measure the finished model",
    "measure_memory": "memory by which the process grew while a plugin measured the finished model",
}


class CostAttachment(Attachment):
    """Reads the clock at every step and counts the operations of a few: the first, and some of other shapes.

    Args:
        adapter: Counts the examples of a batch.
        plugin: The settings.
        forecast: What was predicted from shapes; None to predict nothing.
    """

    measures_last = True

    def __init__(self, adapter: Adapter, plugin: Cost | None = None, forecast: Forecast | None = None) -> None:
        self._adapter = adapter
        self._receipt = Receipt(forecast)
        self._telemetry = Telemetry(plugin or Cost())
        self._clock = Clock()
        self._operations = Operations()
        self._slowed = 0
        self._why_not = NO_TRAINING
        self._memory: HighWater | None = None
        self._peak: Peak | None = None
        self._train_start: float | None = None
        self._laps = Laps(self._clock, torch.device("cpu"))
        self._began: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Times and counts so far, so that a resumed run reports the whole."""
        self._settle()
        told = {"receipt": self._receipt.state(), "telemetry": self._telemetry.state()}
        return {"clock": self._clock.state(), "counted": self._counted(), **told}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._clock.load(state_dict["clock"])
        self._operations.load(state_dict["counted"])
        self._slowed = state_dict["counted"].get("slowed", state_dict["counted"]["examples"])
        self._telemetry.load(state_dict["telemetry"])
        # Checkpoints of before there were predictions have none.
        if "receipt" in state_dict:
            self._receipt.load(state_dict["receipt"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock and the memory's high-water mark."""
        self._memory = HighWater(pl_module, pl_module.device)
        self._why_not = "a part of the task is compiled: counting would make it run uncompiled"
        self._why_not = self._why_not if compiled(pl_module) else ""
        self._telemetry.start(trainer, pl_module)
        self._laps = Laps(self._clock, pl_module.device)
        self._train_start = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Starts the step's clock; where operations are to be counted, also the counter."""
        if not self._why_not:
            # The steps from which time is foretold stay as they are.
            self._operations.open(batch, rows=self._examples(batch), more=not self._receipt.watching)
        self._began = self._laps.mark()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Looks at the mark."""
        self._look()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the mark."""
        self._look()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends what `on_train_batch_start` began."""
        ended = self._laps.mark()
        self._look()
        examples = self._examples(batch)
        # A counted step is slower by the counting: its time is not kept.
        if self._operations.close():
            self._slowed += examples
        else:
            self._laps.add(self._began, ended, examples=examples)
            self._telemetry.add(batch, step=trainer.global_step)
        if self._receipt.watching and self._train_start is not None:
            wait_for(pl_module.device)
            # A checkpoint in the middle starts the clock anew.
            passed = self._clock.training + time.perf_counter() - self._train_start
            shape = shape_of(batch, rows=examples)
            self._receipt.add(trainer, shape, seconds=passed, joules=self._telemetry.joules())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the clock and the mark before anybody measures."""
        self._settle()
        self._telemetry.stop()
        self._train_start = None
        self._peak = self._memory.read() if self._memory is not None else None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves no counter and no meter behind on a broken run."""
        self._operations.leave()
        self._telemetry.stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves no counter behind where a step never ended."""
        self._operations.leave()

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Time, memory and size first, then what they are made of, then what each plugin took."""
        rows = list(self._rows(run))
        for row in rows:
            yield replace(row, meaning=MEANINGS[row.name])
        if run.trained:
            for row in self._receipt.rows({row.name: row for row in rows if not row.at}, run.device):
                yield replace(row, meaning=MEANINGS[row.name]) if isinstance(row, Measurement) else row
            yield from self._telemetry.pictures(self._clock)

    def _rows(self, run: Run) -> Iterator[Measurement]:
        step, speed, whole = self._times(run)
        size, trainable = _sizes(run.task)
        per_step, per_example, all_steps = self._step_flops(run)
        yield from (step, self._memory_peak(), self._telemetry.energy(run), size, per_step, speed)
        yield from self._telemetry.tokens_per_second(run, self._clock)
        yield per_example
        yield _forward_flops(run)
        yield self._telemetry.utilisation(run, self._clock, per_example=self._per_example(), lower=self._lower())
        yield from (all_steps, whole, trainable, self._process_memory())
        for key, seconds in run.seconds.items():
            if key != self.key:
                yield seconds_of("hook_seconds", seconds.hooks, {"plugin": key}, "")
                yield seconds_of("measure_seconds", seconds.measure, {"plugin": key}, "")
                yield _measure_memory(key, seconds.memory)

    def _examples(self, batch: Any) -> int:
        return self._adapter.size(batch)

    def _look(self) -> None:
        if self._memory is not None:
            self._memory.look()

    def _settle(self) -> None:
        self._laps.settle()
        if self._train_start is not None:
            now = time.perf_counter()
            self._clock.training += now - self._train_start
            self._train_start = now

    def _counted(self) -> dict[str, Any]:
        return {**self._operations.state(), "slowed": self._slowed}

    def _all_examples(self) -> int:
        return self._clock.examples + self._slowed

    def _per_example(self) -> float:
        examples = self._all_examples()
        return self._operations.total(examples=examples).value / examples if self._operations.examples else 0.0

    def _lower(self) -> str:
        """What was not counted, for a note; "" where all was."""
        unknown = ", ".join(sorted(self._operations.unknown))
        return f"; a lower bound, not counted: {unknown}" if unknown else ""

    def _step_flops(self, run: Run) -> Iterator[Measurement]:
        counted, seen = self._operations, self._all_examples()
        # Under `weigh` the state of the checkpoint's own training may have been loaded.
        if not run.trained or not counted.examples:
            why = NO_TRAINING if not run.trained else self._why_not or "no step had an example in it"
            yield skipped("flops_per_step", why, "FLOP")
            yield skipped("flops_per_example", why, "FLOP")
            yield skipped("train_flops", why, "FLOP")
            return
        note = f"first training step, {counted.examples} examples; {DEFINITION}"
        lower = self._lower()
        total = counted.total(examples=seen)
        yield _flops("flops_per_step", counted.first, None, note + lower)
        even = f"flops_per_step over its {counted.examples} examples"
        each = even if counted.shapes == 1 and not total.told else "train_flops over the examples of all steps"
        yield _flops("flops_per_example", total.value / seen, None, each + lower)
        how = "flops_per_example for each of the examples of all steps"
        if counted.shapes > 1 or total.told:
            others = f"those of all others ({total.told:.0%}) told from them"
            how = f"batches of {counted.shapes} lengths were counted, {others}"
        yield _flops("train_flops", total.value, seen, f"{how}; validation is not in it{lower}")

    def _times(self, run: Run) -> Iterator[Measurement]:
        if not run.trained:
            for name, unit in (("step_seconds", "s"), ("examples_per_second", "1/s"), ("train_seconds", "s")):
                yield skipped(name, NO_TRAINING, unit)
            return
        if self._clock.steps:
            steps = spread(self._clock.steps)
            low, high = map(in_words, steps.quartiles)
            yield Measurement(
                name="step_seconds",
                value=steps.median,
                better=Better.LOWER,
                unit="s",
                interval=steps.interval,
                count=len(self._clock.steps),
                timing=True,
                note=f"median step on {run.device} without the first; half of them take {low} to {high}",
            )
            yield Measurement(
                name="examples_per_second",
                value=self._clock.examples / self._clock.inside,
                better=Better.HIGHER,
                unit="1/s",
                count=self._clock.examples,
                timing=True,
                note=f"inside training steps on {run.device}; waiting for data and validation are not in it",
            )
        else:
            yield skipped("step_seconds", "training was too short: its first step is not timed", "s")
            yield skipped("examples_per_second", "training was too short: its first step is not timed", "1/s")
        yield seconds_of("train_seconds", self._clock.training, {}, "with validation")

    def _memory_peak(self) -> Measurement:
        if self._peak is None:
            return skipped("peak_memory", NO_TRAINING, "MiB")
        return _mebibytes("peak_memory", self._peak.mib, self._peak.of)

    def _process_memory(self) -> Measurement:
        if self._peak is None or self._peak.process is None:
            why = NO_TRAINING if self._peak is None else "the memory of the device is told in peak_memory"
            return skipped("process_memory", why, "MiB")
        return _mebibytes("process_memory", self._peak.process, "resident, with libraries, data and parent")


def _sizes(task: LightningModule) -> Iterator[Measurement]:
    trained = sum(weight.numel() for weight in task.parameters() if weight.requires_grad)
    for name, count in (("parameters", parameters_in(task)), ("trainable_parameters", trained)):
        yield Measurement(name=name, value=count, better=Better.LOWER)


@torch.no_grad()
def _forward_flops(run: Run) -> Measurement:
    """One forward pass in eval mode: what an answer of the finished model costs."""
    name = "forward_flops_per_example"
    if compiled(run.task):
        return skipped(name, "a part of the task is compiled: its operations cannot be seen", "FLOP")
    batch = run.to_device(next(iter(run.loader("test"))))
    size = run.adapter.size(batch)
    with FlopCount() as count:
        run.adapter.outputs(run.task, batch)
    unknown = f"; a lower bound, not counted: {', '.join(sorted(count.unknown))}" if count.unknown else ""
    return Measurement(
        name=name,
        value=count.total / size,
        better=Better.LOWER,
        unit="FLOP",
        split="test",
        note=f"in a batch of {size}; {DEFINITION}{unknown}",
    )


def _flops(name: str, value: float, count: int | None, note: str) -> Measurement:
    return Measurement(name=name, value=value, better=Better.LOWER, unit="FLOP", count=count, split="train", note=note)


def _mebibytes(name: str, value: float, note: str, at: dict[str, str | float] | None = None) -> Measurement:
    return Measurement(name=name, value=value, better=Better.LOWER, unit="MiB", at=at or {}, timing=True, note=note)


def _measure_memory(key: str, grown: float | None) -> Measurement:
    at: dict[str, str | float] = {"plugin": key}
    if grown is None:
        return replace(skipped("measure_memory", "this system does not say by how much a process grew", "MiB"), at=at)
    return _mebibytes("measure_memory", grown, "", at)
