"""`stability=adversarial`: how small a change, sought with intent, changes the model's decision?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft

Name = Literal["fgsm", "pgd", "apgd", "margin", "target", "square"]


@dataclass(frozen=True, kw_only=True)
class Adversarial(Plugin):
    """Seeks, for each test example and radius, a change within the radius that changes the decision.

    A cascade of attacks, cheap ones first, each on what is still standing. What counts first is whether the decision
    changes, which takes no label; the accuracy that is left comes second. A change found is proof; one not found is
    none, so that every number is an upper bound on how stable the model is.

    The radius is in raw units of the inputs, or, where the data has no natural range, in standard deviations of each
    input value over the test split; for texts it is a change of the embeddings. Models that hide their gradient look
    stable to any attack that needs one: `masking` tests the attack itself, and where a test fails every number is
    `invalid`.
    """

    norm: Annotated[
        Literal["linf", "l2"], Option("linf: the largest change of any value; l2: the length of the change")
    ] = "linf"
    radii: Annotated[tuple[float, ...], Option("how far the attack may go, rising", unit="raw unit")] = (
        0.01,
        0.02,
        0.03,
        0.05,
        0.1,
    )
    attacks: Annotated[tuple[Name, ...], Option("what is tried, in this order")] = (
        "fgsm",
        "pgd",
        "apgd",
        "margin",
        "target",
        "square",
    )
    steps: Annotated[int, Option("gradient steps of each attack", ge=1)] = 20
    restarts: Annotated[int, Option("random starts of each attack", ge=1)] = 1
    targets: Annotated[int, Option("other classes that `target` goes for, the likeliest first", ge=1)] = 3
    queries: Annotated[
        int | None, Option("questions of `square`; null: 200, and 50 about the embeddings of a text", ge=1)
    ] = None
    examples: Annotated[int, Option("test examples, drawn by the seed of the run", ge=1)] = 256
    batch: Annotated[int | None, Option("examples that the model sees at once; null: what is fastest", ge=1)] = None
    max_seconds: Annotated[
        float | None, Option("after which the rest counts as undecided; null: no limit", unit="seconds", gt=0)
    ] = 60.0
    masking: Annotated[bool, Option("whether the attack itself is tested")] = True

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Radii above 0 and rising, and at least one attack."""
        del draft
        rising = [*self.radii] == sorted(set(self.radii))
        if not self.radii or self.radii[0] <= 0 or not rising:
            yield Problem(
                f"radii {list(self.radii)} must be above 0 and rising",
                fix="stability.adversarial.radii=[0.01,0.02,0.03,0.05,0.1]",
            )
        if not self.attacks or len(set(self.attacks)) < len(self.attacks):
            yield Problem(
                f"attacks {list(self.attacks)} must name at least one, and none twice",
                fix="stability.adversarial.attacks=[fgsm,pgd,apgd,margin,target,square]",
            )

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability._adversarial import AdversarialAttachment

        return AdversarialAttachment(self)
