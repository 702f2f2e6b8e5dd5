"""`privacy=dp_sgd`: training whose result says little about any single example, with a number for "little"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft

Way = Literal["vmap", "loop"]


@dataclass(frozen=True, kw_only=True)
class DPSGD(Plugin):
    """Differentially private SGD (Abadi et al. 2016) on any LightningModule, which stays as it is.

    Each example's gradient is clipped, noise is added to the sum, and batches are drawn by Poisson sampling. The noise
    follows from `target_epsilon` and the length of training; or it is given by `noise_multiplier`, and training then
    ends at the last step that `target_epsilon` affords (null: no such end).
    """

    owns = frozenset({Seam.GRADIENTS})
    shares = frozenset({Seam.BATCHES, Seam.LENGTH})
    alone = ""
    needs = MappingProxyType({"opacus": "opacus>=1.6", "cryptography": "cryptography>=42"})

    target_epsilon: Annotated[float | None, Option("epsilon that the run does not exceed; null: no limit", gt=0)] = 8.0
    noise_multiplier: Annotated[
        float | None, Option("noise over the clipping norm; null: as little as target_epsilon allows", gt=0)
    ] = None
    delta: Annotated[
        float | None,
        Option("probability that epsilon does not cover; null: min(1e-5, 1/(10 N)) for N examples", gt=0, lt=1),
    ] = None
    max_grad_norm: Annotated[float, Option("norm to which the gradient of each example is clipped", gt=0)] = 1.0
    clip_quantile: Annotated[
        float | None,
        Option(
            "max_grad_norm is where the clipping norm begins, and it follows this quantile of the gradients' norms, "
            "counted with noise; null: it stays",
            gt=0,
            lt=1,
        ),
    ] = None
    clip_rate: Annotated[float, Option("how fast the clipping norm follows clip_quantile", gt=0)] = 0.2
    clip_count_noise: Annotated[
        float, Option("noise on the counted gradients, over the batch size; the gradients' noise grows for it", gt=0)
    ] = 0.05
    max_physical_batch_size: Annotated[
        int | None,
        Option(
            "largest number of examples in memory at once; null: some more than batch_size, for what is drawn beyond "
            "that would take more memory than training without privacy",
            ge=1,
        ),
    ] = None
    engine: Annotated[
        Literal["auto", "hooks", "opacus", "microbatch"],
        Option(
            "hooks: one pass for all examples; opacus: the same by Opacus' own hooks; microbatch: one example at a "
            "time, for any task; auto: hooks where a check at the start of training proves them right"
        ),
    ] = "auto"
    ways: Annotated[
        Mapping[str, Way],
        Option(
            "for paths or types of layers: how their forward is run again for single examples, where auto or hooks "
            "would choose; {LSTM: loop}"
        ),
    ] = field(default_factory=dict[str, Way])
    noise_seed: Annotated[
        int | None,
        Option(
            "null: fresh entropy; a number makes noise and sampling repeatable, and removable by who knows it", ge=0
        ),
    ] = None

    ledger: Annotated[
        Path | None,
        Option("file in which all private trainings on the same data add up; null: privacy_ledger.jsonl in outputs"),
    ] = None

    def __post_init__(self) -> None:
        if self.ways and self.engine in ("opacus", "microbatch"):
            raise ValueError(f"ways chooses for single layers, which engine={self.engine} does not")

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """What stands in the way of a guarantee, and the noise that was chosen."""
        from steelyard_privacy._obstacles import obstacles

        return obstacles(self, draft)

    def spends(self, draft: Draft) -> Mapping[str, float]:
        """The epsilon of the whole run; nothing where no end of the training is known."""
        from steelyard_privacy._plan import make_plan

        epsilon = make_plan(self, draft).epsilon
        return {} if epsilon is None else {"epsilon": epsilon}

    def attach(self, draft: Draft) -> Attachment:
        """Poisson batches through the loaders, clipped sums through the step, noise before the optimizer."""
        from steelyard_privacy._dp_sgd import attach

        return attach(self, draft)
