"""The forecast of a draft: its rehearsal and its length."""

import functools
import math
from collections.abc import Callable, Sequence, Sized
from typing import Any

from pytorch_lightning.utilities.model_helpers import is_overridden

from steelyard.draft import Draft
from steelyard.estimating.estimate import Estimate, Forecast
from steelyard.problem import Problem
from steelyard.selection import Selected


def forecaster(selected: Sequence[Selected], draft: Draft) -> Callable[[], Forecast]:
    """Makes the forecast when it is first asked for, which must be before anything is attached, and only once."""

    @functools.cache
    def forecast() -> Forecast:
        estimate, notes = estimated(selected, draft)
        steps = count_steps(draft) if estimate is None else estimate.steps
        return Forecast(estimate=estimate, steps=steps, notes=notes)

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


def count_steps(draft: Draft, *, loader: Any = None) -> int | None:
    """Optimizer steps by `max_epochs`, `max_steps` and the loader's length, or None where the end is open.

    Args:
        draft: With what plugins have set, or without.
        loader: Of the training data, with the wraps of plugins; None: the data's own.
    """
    trainer = draft.trainer
    most = trainer.get("max_steps")
    steps = None if most in (None, -1) else int(most)
    epochs = trainer.get("max_epochs")
    if epochs is None and steps is None:
        epochs = 1000
    each = count_epoch(draft, loader=loader)
    if epochs not in (None, -1) and each is not None:
        by_epochs = int(epochs) * each
        steps = by_epochs if steps is None else min(steps, by_epochs)
    return steps


def count_epoch(draft: Draft, *, loader: Any = None) -> int | None:
    """Optimizer steps of an epoch, or None where the loader has no length. The arguments are those of `count_steps`."""
    try:
        loaded = len(draft.data.train_dataloader() if loader is None else loader)
    except TypeError:
        return None
    limit = draft.trainer.get("limit_train_batches")
    if limit is not None:
        loaded = int(loaded * limit) if isinstance(limit, float) else min(loaded, int(limit))
    return math.ceil(loaded / int(draft.trainer.get("accumulate_grad_batches") or 1))


def validates_each_epoch(draft: Draft) -> bool:
    """Whether each epoch ends with a validation, whatever is tried before the first."""
    trainer = draft.trainer
    asked = all(trainer.get(name) in (None, 1) for name in ("check_val_every_n_epoch", "val_check_interval"))
    return asked and validates(draft)


def validates(draft: Draft) -> bool:
    """Whether there is a validation at all."""
    if draft.trainer.get("limit_val_batches") in (0, 0.0):
        return False
    return is_overridden("validation_step", draft.task) and is_overridden("val_dataloader", draft.data)


def smaller_than_a_batch(loader: Any) -> Problem | None:
    """A note that there are fewer examples than a batch may have; None where there are not, or nobody can tell.

    Args:
        loader: Of the training data.
    """
    rows, data = getattr(loader, "batch_size", None), getattr(loader, "dataset", None)
    if not isinstance(rows, int) or not isinstance(data, Sized) or len(data) >= rows:
        return None
    dropped = getattr(loader, "drop_last", False)
    what = "a smaller batch is dropped, so there is none" if dropped else "each step takes all of them"
    message = f"a batch may have {rows:,} examples, and there are {len(data):,} to train on: {what}"
    return Problem(message, fix=f"data.batch_size={max(1, len(data))}", level="note")


def _reason(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0] if words else 'no reason given'}"
