"""`privacy=canaries`: how much does one training give away at least?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Canaries(Plugin):
    """An audit in one training run (Steinke et al. 2023; Mahloujifar et al. 2024).

    Some training examples are chosen, and a coin for each decides whether it carries a canary: a gradient of its own
    in coordinates that nobody else touches. An attacker who sees every gradient that the optimizer gets guesses the
    coins, and how well that works bounds epsilon from below. The added weights are gone after training. Where
    gradients are clipped, an example with a canary teaches the model next to nothing.
    """

    shares = frozenset({Seam.MODULES, Seam.BATCHES})

    count: Annotated[
        int | None, Option("canaries, in or out; null: a tenth of the training examples, at most 1000", ge=10)
    ] = None
    strength: Annotated[
        float, Option("length of a canary's gradient, to be far above the norm to which gradients are clipped", gt=0)
    ] = 100.0
    delta: Annotated[
        float | None,
        Option("probability that epsilon does not cover; null: min(1e-5, 1/(10 N)) for N examples", gt=0, lt=1),
    ] = None
    level: Annotated[float, Option("confidence of the lower bounds", gt=0.5, lt=1)] = 0.95
    promise: Annotated[str, Option("full name of the measurement beside which the lower bounds stand")] = (
        "privacy.dp_sgd.epsilon"
    )

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Whether single training examples can be marked."""
        from steelyard_privacy._canary_marks import obstacles

        return obstacles(self, draft)

    def attach(self, draft: Draft) -> Attachment:
        """Marks through the loader, canary weights beside the model, their gradient through the step."""
        from steelyard_privacy._canaries import attach

        return attach(self, draft)
