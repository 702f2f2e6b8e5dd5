"""`privacy=shadow`: do models know the examples that they were trained on, and their siblings not?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft
    from steelyard.measurement import Artefact, Measurement
    from steelyard.stored import StoredRun


@dataclass(frozen=True, kw_only=True)
class Shadow(Plugin):
    """Membership inference by shadow models: LiRA (Carlini et al. 2022) and RMIA (Zarifzadeh et al. 2024).

    A coin for each training example decides whether this model is trained on it; every second model gets those that
    the one before it did without. A single run becomes a sweep over `models` siblings, and each of them is attacked
    with the help of those whose coins say nothing of its own. The right guesses of LiRA bound epsilon from below.
    """

    shares = frozenset({Seam.BATCHES})

    model: Annotated[int, Option("number of this model, which chooses its half of the training examples", ge=0)] = 0
    models: Annotated[int, Option("siblings that are trained for one audit", ge=6)] = 16
    false_positive_rate: Annotated[
        float, Option("rate of wrongly accused non-members at which the hits are counted", gt=0, lt=1)
    ] = 0.01
    delta: Annotated[
        float | None,
        Option("probability that epsilon does not cover; null: min(1e-5, 1/(10 N)) for the N of a half", gt=0, lt=1),
    ] = None
    level: Annotated[float, Option("confidence of the lower bound", gt=0.5, lt=1)] = 0.95
    promise: Annotated[str, Option("full name of the measurement beside which the lower bound stands")] = (
        "privacy.dp_sgd.epsilon"
    )

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Whether half of the training examples can be left out."""
        from steelyard_privacy._shadow import obstacles

        return obstacles(draft)

    def attach(self, draft: Draft) -> Attachment:
        """Cuts the loader to one half, and keeps the loss of every example of both."""
        from steelyard_privacy._shadow import attach

        return attach(self, draft)

    def trials(self, config: Mapping[str, Any]) -> Iterator[Sequence[str]]:
        """The siblings."""
        del config
        for model in range(self.models):
            yield (f"privacy.shadow.model={model}",)

    def compare(self, runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
        """The attacks on each model with the help of the others."""
        from steelyard_privacy._shadow_verdict import verdicts

        return verdicts(self, runs)
