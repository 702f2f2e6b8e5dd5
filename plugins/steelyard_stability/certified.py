"""`stability=certified`: within which radius can nothing change the decision? Proof where an attack only tries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


INSTALL = "pip install --no-deps auto_LiRPA==0.3 appdirs"


class Prover(StrEnum):
    """What proves something of the plain model."""

    OWN = "own"
    AUTO_LIRPA = "auto_lirpa"


@dataclass(frozen=True, kw_only=True)
class Certified(Plugin):
    """Certifies the smoothed model: the class that the model decides on most often under Gaussian noise.

    Within the radius `sigma` times the normal quantile of a lower bound of that class' probability, no change of that
    length (L2) changes the smoothed decision (Cohen et al. 2019, theorem 1). The bound is Clopper and Pearson's, one
    sided; the draws that choose the class are not those that bound it. Draws are looked at in stages and end as soon as
    every radius is decided; each look pays its share of `alpha` (Bonferroni), so that an example gets a wrong
    certificate with probability `alpha` at most, however many looks it took.

    A certificate speaks of the smoothed model, not of the plain one, and of exact arithmetic.

    `bounds` asks about the plain model: within which of these radii (Linf) do linear bounds of its layers prove that no
    change changes its decision? Our own take a chain of linear layers, convolutions and ReLUs, as `model=mlp` or
    `model=cnn model.norm=none`; those of auto_LiRPA branches, maximum pooling, tanh, sigmoid and SiLU, too, if it is
    installed. A bound that an attack contradicts makes its numbers `invalid`.
    """

    sigma: Annotated[float, Option("standard deviation of the noise", unit="raw unit", gt=0)] = 0.25
    radii: Annotated[tuple[float, ...], Option("what is to be certified, rising", unit="raw unit")] = (0.1, 0.25, 0.5)
    alpha: Annotated[float, Option("probability that an example's certificate is wrong", gt=0, lt=0.5)] = 0.001
    selection: Annotated[int, Option("draws that choose the class", ge=10)] = 100
    looks: Annotated[tuple[int, ...], Option("draws after which is looked, rising")] = (100, 1000, 10000)
    bounds: Annotated[
        tuple[float, ...],
        Option("radii (Linf) at which the plain model's decisions are to be proved, rising; none", unit="raw unit"),
    ] = ()
    bounds_by: Annotated[Prover, Option("what works these bounds out: own, or auto_lirpa")] = Prover.OWN
    examples: Annotated[int, Option("test examples, drawn by the seed of the run", ge=1)] = 100
    batch: Annotated[int, Option("draws that the model sees at once, at most", ge=1)] = 512
    max_seconds: Annotated[
        float | None, Option("after which no more examples are begun; null: no limit", unit="seconds", gt=0)
    ] = 120.0

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Radii and looks must rise from above 0."""
        del draft
        for name, values, good in (("radii", self.radii, "[0.1,0.25,0.5]"), ("looks", self.looks, "[100,1000,10000]")):
            if not values or values[0] <= 0 or [*values] != sorted(set(values)):
                yield Problem(
                    f"{name} {list(values)} must be above 0 and rising", fix=f"stability.certified.{name}={good}"
                )

        if any(radius <= 0 for radius in self.bounds) or [*self.bounds] != sorted(set(self.bounds)):
            yield Problem(f"bounds {list(self.bounds)} must be above 0 and rising", fix="stability.certified.bounds=[]")
        if self.bounds and self.bounds_by is Prover.AUTO_LIRPA and find_spec("auto_LiRPA") is None:
            yield Problem(f"auto_LiRPA is not installed: {INSTALL}", fix="stability.certified.bounds_by=own")

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam: it looks at the trained model only."""
        del draft
        from steelyard_stability._certified import CertifiedAttachment

        return CertifiedAttachment(self)
