"""Which engine works on a task: the fast one where it is proved right, one example at a time elsewhere."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
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
from steelyard_privacy._opacus import OpacusEngine
from steelyard_privacy._proof import Engines, doubt, traces
from steelyard_privacy._sums import Layout, Sums
from steelyard_privacy.dp_sgd import Way

log = logging.getLogger(__name__)

Wanted = Literal["auto", "hooks", "opacus", "microbatch"]
MICROBATCH_FIX = "privacy.dp_sgd.engine=microbatch"


@final
class Choice:
    """Clips by the engine that was asked for.

    Args:
        wanted: `auto` never degrades the guarantee: what is not proved yet runs one example at a time.
        task: The task.
        layout: Its trained weights.
        ways: See `Layers`.

    Raises:
        Refused: If `hooks` or `opacus` was asked for and cannot do it, or `ways` names what is not there.
    """

    def __init__(
        self,
        wanted: Wanted,
        *,
        task: LightningModule,
        layout: Layout,
        ways: Mapping[str, Way] = MappingProxyType({}),
    ) -> None:
        self._wanted = wanted
        self._task = task
        self._layout = layout
        self._slow = MicrobatchEngine()
        self._fast: HookEngine | OpacusEngine | None = None
        self._proved = False
        self._traceless = False
        if wanted == "microbatch":
            return
        reason = unsupported(task, layout)
        if reason is None:
            self._fast = OpacusEngine(task, layout) if wanted == "opacus" else HookEngine(task, layout, ways)
        else:
            self._give_up(reason)

    @property
    def name(self) -> str:
        """The engine in use, and how it works on the layers."""
        if self._fast is None or not self._proved:
            return "microbatch"
        kind = "opacus" if isinstance(self._fast, OpacusEngine) else "hooks"
        return f"{kind} ({', '.join(self._fast.described())})"

    def prepare(self, sums: Sums, batch: Any, *, count: int, trial: Objective) -> None:
        """Proves the fast engine on a drawn batch, before it is cut, where that has not been done.

        Args:
            sums: Memory for the proof, begun anew before and after.
            batch: Of any size.
            count: Number of examples.
            trial: The task's loss of a batch, leaving no trace in what is logged.

        Raises:
            Refused: If the task keeps traces of its training data beside the weights.
        """
        if not self._traceless and count >= 2:
            self._refuse_traces(batch, count=count, trial=trial)
        fast = self._fast
        if fast is None or self._proved or not count:
            return
        sums.reset()
        engines = Engines(fast=fast, slow=self._slow, sums=sums)
        found = doubt(engines, task=self._task, batch=batch, count=count, objective=trial)
        sums.reset()
        if found is None:
            self._proved = True
            log.info("privacy.dp_sgd clips by %s", self.name)
        elif found.final:
            self._give_up(found.reason)

    def largest(self, expected: int) -> int | None:
        """How many examples may be worked on at once where `expected` are; None if it does not matter."""
        fast = self._fast if self._proved else None
        return fast.largest(expected) if isinstance(fast, HookEngine) else None

    def add_clipped(self, sums: Sums, batch: Any, *, count: int, objective: Objective, max_norm: float) -> Tensor:
        """Adds the sum of the batch's clipped per-example gradients.

        Args:
            sums: Where they are added.
            batch: At least one example.
            count: Number of examples.
            objective: The task's loss of a batch.
            max_norm: Clipping norm C.

        Returns:
            The norms of the gradients before clipping, (count,).
        """
        fast = self._fast if self._proved else None
        if fast is not None:
            try:
                return fast.add_clipped(sums, batch, count=count, objective=objective, max_norm=max_norm)
            except NotCovered as reason:
                self._give_up(str(reason))
        return self._slow.add_clipped(sums, batch, count=count, objective=objective, max_norm=max_norm)

    def _refuse_traces(self, batch: Any, *, count: int, trial: Objective) -> None:
        found = traces(self._task, batch=batch, count=count, objective=trial)
        if found:
            raise refuse(
                f"the training step leaves what it saw in the buffer {found[0]}, to which no noise is added",
                fix="a layer without running statistics, such as torch.nn.GroupNorm  (or: privacy=none)",
            )
        self._traceless = True

    def _give_up(self, reason: str) -> None:
        if self._wanted in ("hooks", "opacus"):
            raise refuse(f"engine={self._wanted} cannot train this task privately: {reason}", fix=MICROBATCH_FIX)
        log.warning("privacy.dp_sgd takes one example at a time, which is slow: %s", reason)
        self._fast, self._proved = None, False
