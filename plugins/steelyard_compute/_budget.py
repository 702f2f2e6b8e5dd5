"""The live half of `compute=budget`."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from steelyard.adapters import Adapter
from steelyard.attachment import Attachment
from steelyard.estimating._flops import DEFINITION, FlopCount, compiled
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard_compute.budget import Budget

UNITS = {"seconds": "s", "steps": "steps", "examples": "examples", "flops": "FLOP"}
MEANINGS = {
    "seconds": "time that training took of its budget",
    "steps": "optimizer steps that training took of its budget",
    "examples": "training examples that were worked through",
    "flops": "operations that training took of its budget",
}


class BudgetPassed(RuntimeError):
    """A limit was reached under `on_breach=fail`, or by the first step."""


@dataclass(slots=True)
class Spent:
    """What one kind of cost has come to.

    Attributes:
        total: So far, of all sessions of the run.
        dearest: The most that one step cost.
        after: The most that came after the last step, which is validation.
    """

    total: float = 0.0
    dearest: float = 0.0
    after: float = 0.0

    def add(self, cost: float) -> None:
        """One more step."""
        self.total += cost
        self.dearest = max(self.dearest, cost)

    def passes(self, limit: float) -> bool:
        """Whether another step may pass the limit."""
        return self.total + self.dearest + self.after > limit


@dataclass(slots=True)
class _Session:
    """What is known of the step that runs."""

    lapped: float = 0.0
    counting: FlopCount | None = None
    shapes: dict[tuple[Any, ...], int] = field(default_factory=dict[tuple[Any, ...], int])

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self.lapped = self.lapped, time.monotonic()
        return self.lapped - before


@final
class BudgetAttachment(Attachment):
    """Adds up what every step costs.

    Args:
        plugin: The limits.
        adapter: Counts the examples of a batch.
    """

    def __init__(self, plugin: Budget, adapter: Adapter) -> None:
        limits = {name: getattr(plugin, name) for name in UNITS}
        self._limits: Mapping[str, float] = {name: float(limit) for name, limit in limits.items() if limit is not None}
        self._fails = plugin.on_breach == "fail"
        self._adapter = adapter
        self._spent = {name: Spent() for name in self._limits}
        self._ran_out = ""
        self._session = _Session()

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
            Refused: If operations shall be counted that cannot be seen.
        """
        if "flops" in self._limits and compiled(pl_module):
            raise refuse(
                "a part of the task is compiled, so its operations cannot be counted",
                fix="compute.budget.flops=null compute.budget.seconds=600",
            )
        size = getattr(trainer.train_dataloader, "batch_size", None) or 0
        if size > self._limits.get("examples", size):
            raise refuse(
                f"one batch has {size} examples, the budget is {self._limits['examples']:g}",
                fix=f"compute.budget.examples={size}",
            )
        self._session.lap()
        if self._spent and self._may_not_go_on(trainer):
            trainer.should_stop = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Counts operations where a batch has a shape that was not seen before."""
        session = self._session
        if "flops" in self._limits and _shapes(batch) not in session.shapes:
            session.counting = FlopCount()
            session.counting.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the step, and ends the training before one that may pass a limit."""
        session = self._session
        if session.counting is not None:
            session.shapes[_shapes(batch)] = session.counting.total
            self._stop_counting()
        costs = {
            "steps": trainer.global_step - self._spent["steps"].total if "steps" in self._spent else 0.0,
            "examples": float(self._adapter.size(batch)),
            "flops": float(session.shapes.get(_shapes(batch), 0)),
            "seconds": session.lap(),
        }
        for name, spent in self._spent.items():
            spent.add(costs[name])
        self._check_first(trainer)
        if self._may_not_go_on(trainer):
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts the time of validation, which is no part of a step."""
        if "seconds" in self._spent and not trainer.sanity_checking:
            took = self._session.lap()
            self._spent["seconds"].total += took
            self._spent["seconds"].after = max(self._spent["seconds"].after, took)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves no counter behind on a broken run."""
        self._stop_counting()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves no counter behind where a step never ended."""
        self._stop_counting()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fails where that was asked for.

        Raises:
            BudgetPassed: If a limit ended the training.
        """
        if self._fails and self._ran_out:
            raise BudgetPassed(f"the budget is used up: {self._ran_out} (compute.budget.on_breach=stop ends it well)")

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What was spent beside what might be."""
        why = f"the budget ended the training: {self._ran_out}" if self._ran_out else "the training ended by itself"
        for name, limit in self._limits.items():
            words = f"of {limit:g}; {why}" if run.trained else "there was no training in this run"
            yield Measurement(
                name=name,
                value=self._spent[name].total if run.trained else None,
                status=Status.MEASURED if run.trained else Status.SKIPPED,
                better=Better.LOWER,
                unit=UNITS[name],
                timing=name == "seconds",
                note=f"{words}; {DEFINITION}" if name == "flops" else words,
                meaning=MEANINGS[name],
            )

    def _check_first(self, trainer: Trainer) -> None:
        """A budget that the first step has passed already is a mistake, whatever `on_breach` says."""
        if trainer.global_step > 1:
            return
        for name, limit in self._limits.items():
            if self._spent[name].total > limit:
                need = self._spent[name].total
                raise BudgetPassed(
                    f"one step needs {need:g} {UNITS[name]}, the budget is {limit:g}: "
                    f"compute.budget.{name}={need:.2g} affords one"
                )

    def _may_not_go_on(self, trainer: Trainer) -> bool:
        """The same answer on every rank: what one of them cannot afford, none does."""
        short = [name for name, limit in self._limits.items() if self._spent[name].passes(limit)]
        stop: bool = trainer.strategy.reduce_boolean_decision(bool(short), all=False)
        if stop:
            self._ran_out = ", ".join(short) or "on another rank"
        return stop

    def _stop_counting(self) -> None:
        if self._session.counting is not None:
            self._session.counting.stop()
            self._session.counting = None


def _shapes(batch: Any) -> tuple[Any, ...]:
    """Of every tensor in a batch, whatever its structure."""
    if isinstance(batch, Tensor):
        return tuple(batch.shape)
    if is_mapping(batch):
        return tuple(_shapes(part) for part in batch.values())
    return tuple(_shapes(part) for part in batch) if is_sequence(batch) else ()
