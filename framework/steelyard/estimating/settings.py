"""The settings of `steelyard plan`, under `plan` of the config."""

from dataclasses import dataclass
from typing import Annotated

from steelyard.option import Option


@dataclass(frozen=True, kw_only=True)
class Planning:
    """What `plan` shall look at; no part of a run's config or spec.

    Attributes:
        machine: A machine by name; None for this one.
        probe: Real steps, for the time.
        watts: Assumed, for the energy of a probe.
        advise: Rank the levers.
        largest_batch: Look for it.
        gb: Memory that training may take.
        seconds: Time that training may take.
    """

    machine: Annotated[str | None, Option("machine to plan for, e.g. h100; null: this one")] = None
    probe: Annotated[
        bool,
        Option("train six batches or more in a process of its own, and tell time and energy; with advise: of the best"),
    ] = False
    watts: Annotated[float, Option("power of a busy processor core, for the energy", unit="W", gt=0)] = 10.0
    advise: Annotated[bool, Option("rank levers and batch sizes by what they would take")] = False
    largest_batch: Annotated[bool, Option("find the largest data.batch_size that fits, without a step")] = False
    gb: Annotated[
        float | None, Option("memory that training may take, for advice; null: what is free", unit="GB", gt=0)
    ] = None
    seconds: Annotated[float | None, Option("time that training may take, for advice; null: any", gt=0)] = None
