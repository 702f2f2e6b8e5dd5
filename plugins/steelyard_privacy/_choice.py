"""Which engine works on a task: the fast one where it is proved right, one example at a time elsewhere."""

import logging
from typing import Any, Literal, final

from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.problem import refuse
from steelyard_privacy._engine import (
    HookEngine,
    MicrobatchEngine,
    NotCovered,
    Objective,
    unsupported,
)
from steelyard_privacy._proof import Engines, doubt, traces
from steelyard_privacy._sums import Layout, Sums

log = logging.getLogger(__name__)

Wanted = Literal["auto", "hooks", "microbatch"]
MICROBATCH_FIX = "privacy.dp_sgd.engine=microbatch"


@final
class Choice:
    """Clips by the engine that was asked for.

    Args:
        wanted: `auto` never degrades the guarantee: what is not proved yet runs one example at a time.
        task: The task.
        layout: Its trained weights.

    Raises:
        Refused: If `hooks` was asked for and cannot do it.
    """

    def __init__(self, wanted: Wanted, *, task: LightningModule, layout: Layout) -> None:
        self._wanted = wanted
        self._task = task
        self._layout = layout
        self._slow = MicrobatchEngine()
        self._fast: HookEngine | None = None
        self._proved = False
        self._traceless = False
        if wanted == "microbatch":
            return
        stranger = unsupported(task, layout)
        if stranger is None:
            self._fast = HookEngine(task, layout)
        else:
            self._give_up(f"{stranger} has no rule for per-example gradients")

    @property
    def name(self) -> str:
        """The engine in use."""
        return "hooks" if self._fast is not None and self._proved else "microbatch"

    def add_clipped(
        self, sums: Sums, batch: Any, *, count: int, objective: Objective, trial: Objective, max_norm: float
    ) -> Tensor:
        """Adds the sum of the batch's clipped per-example gradients.

        Args:
            sums: Where they are added.
            batch: At least one example.
            count: Number of examples.
            objective: The task's loss of a batch.
            trial: The same, leaving no trace in what is logged.
            max_norm: Clipping norm C.

        Returns:
            The norms of the gradients before clipping, (count,).

        Raises:
            Refused: If the task keeps traces of its training data beside the weights.
        """
        if not self._traceless and count >= 2:
            self._refuse_traces(batch, count=count, trial=trial)
        fast = self._fast
        if fast is not None and (self._proved or self._prove(fast, batch, count=count, trial=trial)):
            try:
                return fast.add_clipped(sums, batch, count=count, objective=objective, max_norm=max_norm)
            except NotCovered as reason:
                self._give_up(str(reason))
        return self._slow.add_clipped(sums, batch, count=count, objective=objective, max_norm=max_norm)

    def _prove(self, fast: HookEngine, batch: Any, *, count: int, trial: Objective) -> bool:
        engines = Engines(fast=fast, slow=self._slow, layout=self._layout)
        found = doubt(engines, task=self._task, batch=batch, count=count, objective=trial)
        if found is None:
            self._proved = True
        elif found.final:
            self._give_up(found.reason)
        return self._proved

    def _refuse_traces(self, batch: Any, *, count: int, trial: Objective) -> None:
        found = traces(self._task, batch=batch, count=count, objective=trial)
        if found:
            raise refuse(
                f"the training step leaves what it saw in the buffer {found[0]}, to which no noise is added",
                fix="a layer without running statistics, such as torch.nn.GroupNorm  (or: privacy=none)",
            )
        self._traceless = True

    def _give_up(self, reason: str) -> None:
        if self._wanted == "hooks":
            raise refuse(f"engine=hooks cannot train this task privately: {reason}", fix=MICROBATCH_FIX)
        log.warning("privacy.dp_sgd takes one example at a time, which is slow: %s", reason)
        self._fast, self._proved = None, False
