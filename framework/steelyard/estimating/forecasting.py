"""The forecast of a draft: its rehearsal and its length."""

import functools
import math
from collections.abc import Callable, Sequence

from steelyard.draft import Draft
from steelyard.estimating.estimate import Estimate, Forecast
from steelyard.selection import Selected


def forecaster(selected: Sequence[Selected], draft: Draft) -> Callable[[], Forecast]:
    """Makes the forecast when it is first asked for, which must be before anything is attached, and only once."""

    @functools.cache
    def forecast() -> Forecast:
        estimate, notes = estimated(selected, draft)
        return Forecast(estimate=estimate, steps=count_steps(draft), notes=notes)

    return forecast


def estimated(selected: Sequence[Selected], draft: Draft) -> tuple[Estimate | None, tuple[str, ...]]:
    """The estimate, and what it leaves out; None where the task cannot be rehearsed even without its plugins."""
    from steelyard.estimating.rehearsal import rehearse

    try:
        return rehearse(selected, draft), ()
    except Exception as error:  # whatever a task or a plugin does that needs numbers
        reason = _reason(error)
    if selected:
        try:
            found = rehearse((), draft)
        except Exception as error:
            return None, (f"no estimate: {_reason(error)}",)
        return found, (f"the estimate leaves out what plugins do: {reason}",)
    return None, (f"no estimate: {reason}",)


def count_steps(draft: Draft) -> int | None:
    """Optimizer steps by `max_epochs`, `max_steps` and the loader's length, or None where the end is open."""
    trainer = draft.trainer
    try:
        batches = len(draft.data.train_dataloader())
    except TypeError:
        batches = None
    limit = trainer.get("limit_train_batches")
    if batches is not None and limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, int(limit))
    most = trainer.get("max_steps")
    steps = None if most in (None, -1) else int(most)
    epochs = trainer.get("max_epochs")
    if epochs is None and steps is None:
        epochs = 1000
    if epochs not in (None, -1) and batches is not None:
        by_epochs = int(epochs) * math.ceil(batches / int(trainer.get("accumulate_grad_batches") or 1))
        steps = by_epochs if steps is None else min(steps, by_epochs)
    return steps


def _reason(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0] if words else 'no reason given'}"
