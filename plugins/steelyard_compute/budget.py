"""`compute=budget`: training that ends before it costs more than it may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Budget(Plugin):
    """Limits of training, looked at before a step would pass them; what is spent is kept across a resume.

    The next step, and the validation after it, are taken to cost as much as the dearest so far, so that steps of one
    shape never pass a limit and end less than a step short of it. `trainer.min_epochs` and `trainer.min_steps` yield to
    a limit. A limit knows nothing of the data, so under differential privacy it gives nothing away.

    On several ranks the examples, operations and joules of all of them are added up, and the slowest says the time, so
    that every rank comes to the same answer.

    Memory is a mark and no sum: a run is refused if the memory that is predicted from shapes is more than `gb`, and
    ends after a step that passed it. Operations are held against the prediction, too, before anything is spent.
    """

    shares = frozenset({Seam.LENGTH})
    alone = ""

    seconds: Annotated[float | None, Option("wall time from the start of training, validation included", gt=0)] = None
    steps: Annotated[int | None, Option("optimizer steps", ge=1)] = None
    examples: Annotated[int | None, Option("training examples, repeated ones counted again", ge=1)] = None
    flops: Annotated[
        float | None, Option("operations of training steps, counted as `compute.cost` counts them", gt=0)
    ] = None
    kwh: Annotated[
        float | None, Option("energy of training, validation included; by a meter, or else estimated", unit="kWh", gt=0)
    ] = None
    gb: Annotated[
        float | None,
        Option("memory at the peak that training may take, the weights of the model included", unit="GB", gt=0),
    ] = None
    euros: Annotated[float | None, Option("price of the energy, of the hours, or of both", unit="EUR", gt=0)] = None
    euros_per_kwh: Annotated[float, Option("price of energy", unit="EUR/kWh", ge=0)] = 0.0
    euros_per_hour: Annotated[float, Option("price of an hour of all machines together", unit="EUR/h", ge=0)] = 0.0
    core_watts: Annotated[
        float, Option("power of a busy processor core, for the estimate where there is no meter", unit="W", gt=0)
    ] = 10.0
    device_watts: Annotated[
        float | None, Option("power of a GPU at full load; none: energy cannot be told there", unit="W", gt=0)
    ] = None
    meter: Annotated[
        Literal["own", "codecarbon"],
        Option("own: counters of the processor, else CPU time; codecarbon: its estimate, looked at once a second"),
    ] = "own"
    on_breach: Annotated[
        Literal["stop", "fail"], Option("stop: the run ends well and says what ran out; fail: it ends with exit code 3")
    ] = "stop"

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """At least one limit, a price where euros are limited, and room for what is predicted."""
        from steelyard_compute._foreseen import problems

        return problems(self, draft)

    def attach(self, draft: Draft) -> Attachment:
        """Lets the Trainer end before its minimum, and at the last step that the limit on steps affords."""
        from steelyard_compute._budget import BudgetAttachment

        for name in ("min_epochs", "min_steps"):
            if draft.trainer.get(name) is not None:
                draft.trainer[name] = None
        forecast = draft.forecast() if self.flops is not None and draft.forecast is not None else None
        most = forecast.estimate.most if forecast is not None and forecast.estimate is not None else 0
        return BudgetAttachment(self, draft.adapter, most=most)
