"""What is written down of a run beside its numbers: where it came from, what it is called, what came of it."""

import contextlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf
from pytorch_lightning import LightningDataModule

from steelyard import folder, provenance, short_memory, spec
from steelyard.folder import Journal, State
from steelyard.problem import Problem, Refused
from steelyard.scorecard import Scorecard
from steelyard.selection import Selected

if TYPE_CHECKING:
    from steelyard.experiment import Order, Prepared


def facts(prepared: "Prepared", device: torch.device) -> dict[str, Any]:
    """The content of provenance.json."""
    order = prepared.order
    return {
        **provenance.collect(
            spec=prepared.spec,
            seed=prepared.draft.seed,
            fingerprint=prepared.fingerprint,
            choices=order.choices,
            overrides=spec.masked_overrides(order.overrides),
            imports=imports(prepared.selected),
            device=device,
        ),
        **({} if order.command is None else {"command": order.command}),
        "checkpoint": None if order.train else str(order.checkpoint),
        "notes": list(prepared.notes),
    }


def record_refusal(place: Path, order: "Order", refusal: Refused) -> None:
    """The status and the config of a trial that was refused."""
    with folder.opened(place) as journal:
        text = OmegaConf.to_yaml(spec.masked(spec.plain(order.config)))
        folder.write_atomically(place / "config.yaml", text.encode())
        words = list(spec.masked_overrides(order.overrides))
        folder.write_json(place / "provenance.json", {"choices": dict(order.choices), "overrides": words})
        journal.end(State.REFUSED, exit_code=2, message=str(refusal))


def record_failure(journal: Journal, place: Path, error: BaseException) -> None:
    """The status and the traceback of a run that failed, as far as they can be written."""
    words = short_memory.noted(error)
    with contextlib.suppress(OSError):
        folder.write_atomically(place / "traceback.txt", "".join(traceback.format_exception(error)).encode())
    journal.try_end(State.FAILED, exit_code=3, message=words)


def fingerprint(data: LightningDataModule) -> str | None:
    """What the data module says of its content, or None."""
    make: Callable[[], str] | None = getattr(data, "fingerprint", None)
    return make() if callable(make) else None


def imports(selected: Sequence[Selected]) -> list[str]:
    """Packages whose versions decide what the plugins give."""
    return sorted({name for choice in selected for name in (*choice.plugin.needs, type(choice.plugin).__module__)})


def note(problem: Problem) -> str:
    """A remark of preflight in a line."""
    return f"{problem.party}: {problem.message}" + (f" (fix: {problem.fix})" if problem.fix else "")


def title(order: "Order") -> str:
    """What was run, in a line."""
    choices = order.choices
    own: Any = order.config.task.get("_target_")
    # A task of one's own has no use for the model of the config.
    named = [choices["data"]] if "data" in choices else []
    named += [choices["model"]] if "model" in order.config.task and "model" in choices else [str(own)]
    others = ("data", "model", "task", "optimizer", "scheduler", "trainer", "logger", "experiment")
    return ", ".join(
        [*named, *(f"{group}={value}" for group, value in choices.items() if group not in others and value != "none")]
    )


def verdict(scorecard: Scorecard) -> str:
    """What came of it, for status.json."""
    if scorecard.failed:
        return f"failed: {', '.join(scorecard.failed)}"
    unmet = [row.name for row in scorecard.requirements if row.judgement != "met"]
    return f"not met: {', '.join(unmet)}" if unmet else "all requirements met" if scorecard.requirements else "done"
