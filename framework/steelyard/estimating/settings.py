"""The settings of `steelyard plan`, under `plan` of the config."""

from dataclasses import dataclass
from typing import Annotated

from steelyard.option import Option


@dataclass(frozen=True, kw_only=True)
class Planning:
    """What `plan` shall look at; no part of a run's config or spec.

    Attributes:
        machine: A machine by name; None for this one.
    """

    machine: Annotated[str | None, Option("machine to plan for, e.g. h100; null: this one")] = None
