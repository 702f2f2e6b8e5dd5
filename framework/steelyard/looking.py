"""A first look, before training, at whether the adapter understands the batches and outputs of a task."""

from typing import Any

import torch

from steelyard.draft import Draft
from steelyard.measuring import looking
from steelyard.problem import Refused
from steelyard.runs import ordered

ROWS = 2


def look(draft: Draft) -> None:
    """Asks the untrained task about two examples, without leaving a trace.

    Raises:
        Refused: If the adapter has to be told more.
    """
    task, adapter = draft.task, draft.adapter
    try:
        loader: Any = draft.data.test_dataloader()
        known = ordered(loader)
    except Exception:
        # No test split, or one whose examples cannot be told apart: plugins that need it say so.
        return
    try:
        with looking(task), torch.no_grad():
            batch = next(iter(known))
            few = adapter.take(batch, torch.arange(min(ROWS, adapter.size(batch))))
            adapter.outputs(task, adapter.replace(few, adapter.inputs(task, few)))
    except Refused:
        raise
    except Exception:
        # Layers that are made late, a device that the task waits for: the run itself will tell.
        return
