"""`compute.cost`: what did this model and this training cost?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft
    from steelyard.measurement import Artefact, Measurement
    from steelyard.problem import Problem
    from steelyard.stored import StoredRun


@dataclass(frozen=True, kw_only=True)
class Cost(Plugin):
    """Parameters, FLOPs, time, throughput, memory and energy of the run, and what each plugin took of it.

    One FLOP is one multiplication or one addition, so a multiply-accumulate is two. Counted are matrix products,
    convolutions and attention by the formulas of `torch.utils.flop_counter`; heavy operations without a formula are
    named in the note. FLOPs of a step are those of the first real training step: forward, backward and optimizer, with
    everything that other plugins do inside it.

    What a plugin costs inside the step comes from comparing with a run without it (`steelyard compare`).

    Energy comes from the counters of the processor (RAPL) where they can be read. Elsewhere it is an estimate, marked
    as such: busy time, times a power that is assumed.
    """

    core_watts: Annotated[
        float, Option("power of a busy processor core, for the estimate where there is no meter", unit="W", gt=0)
    ] = 10.0
    device_watts: Annotated[
        float | None, Option("power of a GPU at full load, for the estimate; none: no estimate there", unit="W", gt=0)
    ] = None
    meter: Annotated[
        Literal["own", "codecarbon"],
        Option("own: counters of the processor, else CPU time; codecarbon: its estimate, which has memory in it"),
    ] = "own"
    predict: Annotated[
        bool,
        Option(
            "predict memory and FLOPs before the first step, from shapes (a few seconds), time and energy from steps 2 "
            "to 6, and say how far off it was"
        ),
    ] = False
    curves: Annotated[bool, Option("draw step time and memory over the training")] = True

    loss: Annotated[str, Option("measurement whose fall over the compute of a sweep is followed")] = "task.loss"

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Looks ahead while the draft is as it was, if it shall; the meter that is named must be there."""
        if self.predict and draft.forecast is not None:
            draft.forecast()
        from steelyard_compute import _energy

        yield from _energy.problems(self.meter, fix="compute.cost.meter=own")

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it reads clocks, and sees the operations of one step pass by."""
        from steelyard.attachment import Attachment
        from steelyard_compute._cost import CostAttachment

        if draft.rehearsal:
            # There is no time to be read, and who rehearses counts operations himself.
            return Attachment()

        forecast = draft.forecast() if self.predict and draft.forecast is not None else None
        return CostAttachment(draft.adapter, self, forecast)

    def compare(self, runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
        """Predicted and actual side by side; over runs with different compute also the power law of the loss."""
        from steelyard_compute._scaling import over_runs
        from steelyard_compute._side_by_side import receipts

        yield from receipts(runs)
        yield from over_runs(runs, self.loss)
