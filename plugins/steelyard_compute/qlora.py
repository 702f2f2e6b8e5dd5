"""`compute=qlora`: small matrices are trained beside large ones that are kept in four bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from steelyard.lever import Lever
from steelyard.option import Option
from steelyard.problem import Problem
from steelyard_compute.lora import LoRA

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class QLoRA(LoRA):
    """QLoRA: LoRA on a model whose frozen matrices are kept in NF4, four bits a weight (Dettmers et al. 2023).

    A weight becomes one of 16 quantiles of a normal distribution, times the largest magnitude of its block. It is made
    whole again whenever the layer is called, and once more on the way back, so that no whole copy is kept in between:
    memory is saved, and time is lost. Training starts from the rounded model, which is a little worse than the own one.

    Kept in four bits are the frozen weights of Linear layers and of the Conv1D of transformers, whether or not small
    matrices stand beside them; not those that `full` names, that layers share, or that torch reads without a call.
    All else is as in `lora`, whose options these are.
    """

    lever = Lever(costs="frozen matrices are rounded to 4 bits, and small ones trained, at another learning rate")
    called: ClassVar[str] = "qlora"

    block: Annotated[int, Option("weights that share a scale; even", ge=2)] = 64
    double: Annotated[bool, Option("keep the scales in floats of 8 bits, too: 4.13 bits a weight, not 4.5")] = True
    embeddings: Annotated[
        bool, Option("keep embeddings in four bits, too, where their rows are whole blocks; the paper leaves them")
    ] = False

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """As in `lora`; and two weights share a byte, so that blocks must be even."""
        if self.block % 2:
            yield Problem(f"block is {self.block}, must be even", fix=f"compute.qlora.block={self.block + 1}")
        yield from super().preflight(draft)

    def attach(self, draft: Draft) -> Attachment:
        """Puts the matrices beside the layers, and rounds what is frozen."""
        from steelyard_compute._qlora import attach

        return attach(self, draft)
