# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `compute=qlora`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from steelyard._torch_private import is_fake
from steelyard._untyped import named_modules
from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard_compute._four_bits import FourBitEmbedding, FourBitMatrix, able, kept
from steelyard_compute._lora import MIB, LoRAAttachment, adapters, inject, passed_over
from steelyard_compute._normal_float import nf4
from steelyard_compute.qlora import QLoRA

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """What became of the frozen weights.

    Attributes:
        before: Their bytes as they were.
        after: In four bits.
        weights: How many they are.
        layers: That have them.
        lost: Sum of the squared errors.
        power: Sum of their squares.
    """

    before: int
    after: int
    weights: int
    layers: int
    lost: Tensor
    power: Tensor


def attach(plugin: QLoRA, draft: Draft) -> Attachment:
    """The attachment, with the task's layers changed in place."""
    passed = passed_over(draft.task)
    plain = {
        id(layer)
        for name, layer in named_modules(draft.task).items()
        if name not in passed and able(layer, block=plugin.block, embeddings=plugin.embeddings)
    }
    whole = inject(plugin, draft)
    return QLoRAAttachment(plugin, draft, whole=whole, rounded=rounded(plugin, draft.task, plain))


@torch.no_grad()
def rounded(plugin: QLoRA, task: nn.Module, plain: set[int]) -> Rounded:
    """Keeps the frozen ones of these layers in four bits.

    Args:
        plugin: The settings.
        task: Its layers are exchanged in place.
        plain: id of the layers that may be.

    Raises:
        Refused: If a weight is no finite number.
    """
    before = after = weights = layers = 0
    lost = power = torch.zeros(())
    for name, layer in named_modules(task).items():
        # Beside an embedding, the library reads more of the layer than its rows.
        beside = isinstance(layer, nn.Embedding) and name.endswith(".base_layer")
        own: Any = layer
        if id(layer) not in plain or own.weight.requires_grad or beside:
            continue
        weight: Tensor = own.weight.detach()
        packed = nf4(weight, block=plugin.block, double=plugin.double)
        if not (weight.is_meta or is_fake(weight)) and not bool(torch.isfinite(weight).all()):
            raise refuse(f"{name}: its weights are not finite", fix="compute=none")
        lost = lost + (packed.values() - weight).square().sum().cpu()
        power = power + weight.square().sum().cpu()
        before, after = before + weight.numel() * weight.element_size(), after + packed.bytes
        weights, layers = weights + weight.numel(), layers + 1
        embedding = isinstance(layer, nn.Embedding)
        task.set_submodule(name, FourBitEmbedding(packed) if embedding else FourBitMatrix(layer, packed))
    if not layers:
        raise refuse("no linear layer is frozen, whose weight could be kept in 4 bits", fix="compute=lora")
    return Rounded(before=before, after=after, weights=weights, layers=layers, lost=lost, power=power)


@final
class QLoRAAttachment(LoRAAttachment):
    """Says what four bits saved, beside what LoRA says.

    Args:
        plugin: The settings.
        draft: With the matrices on its task.
        whole: Numbers of the model before.
        rounded: What became of the frozen ones.
    """

    def __init__(self, plugin: QLoRA, draft: Draft, *, whole: int, rounded: Rounded) -> None:
        super().__init__(plugin, draft.task, whole=whole)
        self._rounded = rounded
        self._numbers = whole

    def merge(self, task: nn.Module) -> None:
        """Makes the layers with matrices whole first: a product in 4 bits would be lost in the rounding."""
        if self._plugin.merge:
            for layer in adapters(task).values():
                if isinstance(layer.base_layer, FourBitMatrix):
                    layer.base_layer = layer.base_layer.whole()
        super().merge(task)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What the frozen weights take now, and how far they are from what they were."""
        yield from super().measure(run)
        found = self._rounded
        now = kept(run.task)
        merged = f"; {found.layers - len(now)} layers are whole again" if len(now) < found.layers else ""
        yield Measurement(
            name="frozen_size",
            value=found.after / MIB,
            better=Better.LOWER,
            unit="MiB",
            note=f"{found.before / MIB:.4g} before; {8 * found.after / found.weights:.3f} bits a weight in "
            f"{found.layers} layers, {found.weights / self._numbers:.1%} of the numbers of the model{merged}",
            meaning="memory of the weights that were kept in four bits in training",
        )
        yield Measurement(
            name="rounding_error",
            value=float((found.lost / found.power.clamp(min=TINY)).sqrt()),
            better=Better.LOWER,
            count=found.weights,
            note="root of the mean squared error, over that of the weights",
            meaning="how far four bits are from the weights as they were",
        )
