"""The live half of `compute=budget`."""

from collections.abc import Iterator, Mapping, Sized
from typing import Any, final

from pytorch_lightning import LightningModule, Trainer

from steelyard.adapters import Adapter
from steelyard.attachment import Attachment
from steelyard.estimating._flops import DEFINITION, compiled
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard_compute._foreseen import GB, LIMITS, rounded_up
from steelyard_compute._memory import MIB, HighWater
from steelyard_compute._spending import Cost, Spent, Till
from steelyard_compute.budget import Budget

UNITS = {
    "seconds": "s",
    "steps": "steps",
    "examples": "examples",
    "flops": "FLOP",
    "kwh": "kWh",
    "gb": "GB",
    "euros": "EUR",
}
MEANINGS = {
    "seconds": "time that training took of its budget",
    "steps": "optimizer steps that training took of its budget",
    "examples": "training examples that were worked through",
    "flops": "operations that training took of its budget",
    "kwh": "energy that training took of its budget",
    "gb": "most memory that training took of its budget",
    "euros": "what training cost of its budget",
}
TIMED = ("seconds", "kwh", "gb", "euros")
SUMS = tuple(name for name in LIMITS if name not in ("steps", "gb"))


class BudgetPassed(RuntimeError):
    """A limit was reached under `on_breach=fail`, or by the first step."""


@final
class BudgetAttachment(Attachment):
    """Adds up what every step costs.

    Args:
        plugin: The limits.
        adapter: Counts the examples of a batch.
        most: FLOPs of the dearest step that was foreseen: where batches differ in shape it may still be to come.
    """

    def __init__(self, plugin: Budget, adapter: Adapter, *, most: int = 0) -> None:
        limits = {name: getattr(plugin, name) for name in LIMITS}
        self._limits: Mapping[str, float] = {name: float(limit) for name, limit in limits.items() if limit is not None}
        self._plugin = plugin
        self._adapter = adapter
        self._spent = {name: Spent() for name in self._limits}
        if "flops" in self._spent:
            self._spent["flops"].dearest = float(most)
        self._ran_out = ""
        self._till = Till(plugin)
        self._pending = Cost()
        self._steps: int = 0
        self._memory: HighWater | None = None

    def state_dict(self) -> dict[str, Any]:
        """What is spent."""
        return {name: [spent.total, spent.dearest, spent.after] for name, spent in self._spent.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`; a limit that is new counts from here."""
        for name, state in state_dict.items():
            if name in self._spent:
                self._spent[name] = Spent(*state)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock.

        Raises:
            Refused: If what shall be counted cannot be seen.
        """
        if "flops" in self._limits and compiled(pl_module):
            raise refuse(
                "a part of the task is compiled, so its operations cannot be counted",
                fix="compute.budget.flops=null compute.budget.seconds=600",
            )
        size = _batch_size(trainer.train_dataloader)
        if size > self._limits.get("examples", size):
            raise refuse(
                f"one batch has {size} examples, the budget is {self._limits['examples']:g}",
                fix=f"compute.budget.examples={size}",
            )
        if "gb" in self._limits:
            self._memory = HighWater(pl_module, pl_module.device)
        self._steps = trainer.global_step
        self._till.start(pl_module)
        if self._may_not_go_on(trainer):
            trainer.should_stop = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Counts operations where a batch has a shape that was not seen before."""
        self._till.open(batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the step, and ends the training before one that may pass a limit."""
        self._pending += self._till.close(trainer, pl_module, batch, examples=self._adapter.size(batch))
        if trainer.global_step == self._steps and (batch_idx + 1) % trainer.accumulate_grad_batches:
            # Half of an accumulated step would be thrown away.
            return
        for name in SUMS:
            if name in self._spent:
                self._spent[name].add(self._pending.of(name, self._plugin))
        if "steps" in self._spent:
            self._spent["steps"].add(trainer.global_step - self._steps)
        if self._memory is not None:
            mark = self._spent["gb"]
            mark.total = max(mark.total, self._memory.read().mib * MIB / GB)
        self._pending, self._steps = Cost(), trainer.global_step
        self._check_first(trainer)
        if self._may_not_go_on(trainer):
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts the cost of validation, which is no part of a step."""
        if trainer.sanity_checking:
            return
        cost = self._till.between(trainer, pl_module)
        for name in ("seconds", "kwh", "euros"):
            if name in self._spent:
                took = cost.of(name, self._plugin)
                self._spent[name].total += took
                self._spent[name].after = max(self._spent[name].after, took)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves no counter and no meter behind on a broken run."""
        self._till.leave()
        self._till.end()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves no counter behind where a step never ended."""
        self._till.leave()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the meter for the last time; fails where that was asked for.

        Raises:
            BudgetPassed: If a limit ended the training.
        """
        rest = self._till.rest(trainer, pl_module)
        for name in ("kwh", "euros"):
            if name in self._spent:
                self._spent[name].total += rest.of(name, self._plugin)
        if self._plugin.on_breach == "fail" and self._ran_out:
            raise BudgetPassed(f"the budget is used up: {self._ran_out} (compute.budget.on_breach=stop ends it well)")

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What was spent beside what might be."""
        for name, limit in self._limits.items():
            if not run.trained:
                note = "there was no training in this run"
                yield Measurement(name=name, status=Status.SKIPPED, unit=UNITS[name], note=note)
                continue
            guessed = name in ("kwh", "euros") and bool(self._till.how) and not self._till.measured
            yield Measurement(
                name=name,
                value=self._spent[name].total,
                status=Status.ESTIMATED if guessed else Status.MEASURED,
                better=Better.LOWER,
                unit=UNITS[name],
                timing=name in TIMED,
                note=self._note(name, limit),
                meaning=MEANINGS[name],
            )

    def _note(self, name: str, limit: float) -> str:
        why = f"the budget ended the training: {self._ran_out}" if self._ran_out else "the training ended by itself"
        unknown = ", ".join(sorted(self._till.unknown))
        lower = f"; a lower bound, not counted: {unknown}" if unknown else ""
        rest = {"flops": f"; {DEFINITION}{lower}", "kwh": f"; {self._till.how}", "euros": self._prices()}
        return f"of {limit:g}; {why}{rest.get(name, '')}"

    def _prices(self) -> str:
        plugin = self._plugin
        each = ((plugin.euros_per_kwh, "a kWh"), (plugin.euros_per_hour, "an hour"))
        prices = ", ".join(f"{price:g} EUR {unit}" for price, unit in each if price)
        return f"; at {prices}" + (f"; {self._till.how}" if self._till.how else "")

    def _check_first(self, trainer: Trainer) -> None:
        """A budget that the first step has passed already is a mistake, whatever `on_breach` says."""
        if trainer.global_step > 1:
            return
        for name, limit in self._limits.items():
            need = self._spent[name].total
            if need > limit:
                raise BudgetPassed(
                    f"one step needs {need:g} {UNITS[name]}, the budget is {limit:g}: "
                    f"compute.budget.{name}={rounded_up(need):g} affords one"
                )

    def _may_not_go_on(self, trainer: Trainer) -> bool:
        """The same answer on every rank: what one of them cannot afford, none does."""
        short = [name for name, limit in self._limits.items() if self._spent[name].passes(limit)]
        stop = bool(short)
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            self._ran_out = ", ".join(short) or "on another rank"
        return stop


def _batch_size(loader: Any) -> int:
    """Of the first batch, which is not larger than the data; 0 where the loader does not say."""
    size = getattr(loader, "batch_size", None) or 0
    dataset = getattr(loader, "dataset", None)
    return min(size, len(dataset)) if isinstance(dataset, Sized) else size
