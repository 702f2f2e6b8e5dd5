"""`compute=lora`: small matrices beside large ones are trained, the large ones stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

from steelyard.lever import Lever
from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class LoRA(Plugin):
    """LoRA: freezes the model and trains a product of two small matrices beside some layers (Hu et al. 2021), by peft.

    A layer W x becomes W x + alpha / rank * B A x; A starts at random and B at zero, so that the first answers are
    those of the model as it was. Trained weights, their gradients and the optimizer's state shrink; activations do not.

    Names are those of `LightningModule.named_modules` and `named_parameters` before the change; a pattern is matched as
    the shell matches file names. Layers whose weights torch reads without calling them (inside `nn.MultiheadAttention`
    and `nn.TransformerEncoderLayer`) and layers that share their weights with others are left out, and refused by name:
    matrices beside them would be passed over.
    """

    shares = frozenset({Seam.MODULES})
    lever = Lever(costs="only small matrices are trained, at another learning rate")
    needs = MappingProxyType({"peft": "steelyard[text]"})
    called: ClassVar[str] = "lora"
    """Its name among the options, for what a refusal tells to paste."""

    layers: Annotated[
        tuple[str, ...],
        Option("patterns of the layers that get matrices, e.g. model.body.*.query; none: every linear layer"),
    ] = ()
    rank: Annotated[int, Option("rows of the small matrices", ge=1)] = 8
    alpha: Annotated[float, Option("scale of the product, times the rank", gt=0)] = 16.0
    dropout: Annotated[float, Option("probability that an input of the small matrices is dropped", ge=0, lt=1)] = 0.0
    full: Annotated[
        tuple[str, ...], Option("patterns of the weights that are trained themselves, e.g. a new head: model.head.*")
    ] = ()
    merge: Annotated[bool, Option("after training, add the product to the weights, so that answers cost no more")] = (
        False
    )

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """Every pattern must match something that can be trained this way."""
        from steelyard_compute._lora import problems

        return problems(self, draft.task)

    def attach(self, draft: Draft) -> Attachment:
        """Puts the matrices beside the layers; they are drawn from a stream of their own, by the seed of the run."""
        from steelyard_compute._lora import attach

        return attach(self, draft)
