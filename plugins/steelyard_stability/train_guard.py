"""`stability=train_guard`: no bad step reaches the weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class TrainGuard(Plugin):
    """Looks at the loss, the gradient and the buffers of every step, and keeps a bad one from the optimizer.

    Bad is what is not finite, and what lies far above the steps before it (median and MAD of the last `window` good
    ones, on a logarithmic scale). The optimizer then gets no gradient, which leaves weights and its state as they are,
    and the buffers go back to what they were before the batch; schedules and `global_step` go on. Where bad steps do
    not end, training goes back to a snapshot (`rewind`) or ends with an error that names the last healthy checkpoint.

    Eight spikes in a row are no spikes but a new level, which is taken. Each fault leaves its evidence: where it was
    first seen, and whether the same batch gives it again. In a private training only what is released is looked at,
    and no batch is named. Without a fault the training is the same to the bit.
    """

    shares = frozenset({Seam.OPTIMIZER})
    alone = ""

    policy: Annotated[
        Literal["skip", "rewind", "stop"],
        Option("skip: leave bad steps out; rewind: also go back to a snapshot if they do not end; stop: at the first"),
    ] = "skip"
    in_a_row: Annotated[
        int, Option("bad steps in a row after which it goes back, or ends where one of them is not finite", ge=1)
    ] = 5
    share: Annotated[float, Option("part of all steps so far that may be bad", ge=0, le=1)] = 0.01
    least: Annotated[int, Option("bad steps in all that are allowed whatever the share", ge=0)] = 10
    factor: Annotated[
        float | None, Option("deviations (1.48 MAD) above the median that make a spike; null: no spikes", gt=0)
    ] = 8.0
    window: Annotated[int, Option("good steps that a spike is told from", ge=16)] = 32
    every: Annotated[int, Option("steps between two snapshots, for rewind", ge=1)] = 100
    snapshots: Annotated[int, Option("snapshots of weights and optimizer kept in memory, for rewind", ge=1)] = 2
    rewinds: Annotated[int, Option("times that it goes back at most", ge=1)] = 3

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Neither scaled gradients nor weights in parts."""
        precision: Any = draft.trainer.get("precision")
        if str(precision) in ("16", "16-mixed"):
            yield Problem(
                f"trainer.precision={precision} scales gradients until they overflow, and leaves such steps out itself",
                fix="trainer.precision=bf16-mixed",
            )
        strategy: Any = draft.trainer.get("strategy", "auto")
        if isinstance(strategy, str) and ("fsdp" in strategy or "deepspeed" in strategy):
            yield Problem(
                f"trainer.strategy={strategy} gives each process a part of the gradient, which it cannot judge",
                fix="trainer=ddp",
            )

    def attach(self, draft: Draft) -> Attachment:
        """Decides whether the optimizer gets a gradient; changes nothing in the draft."""
        from steelyard_stability._train_guard import TrainGuardAttachment

        return TrainGuardAttachment(self, private=bool(draft.spenders), rehearsal=draft.rehearsal)
