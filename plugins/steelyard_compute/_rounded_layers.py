# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false, reportDeprecated=false
"""Layers in few bits that take the place of others for a while."""

import copy
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from steelyard._untyped import named_modules


class Packed(Protocol):
    """A weight in another form."""

    @property
    def bytes(self) -> int:
        """What it takes."""
        ...

    def values(self) -> Tensor:
        """The weight."""
        ...

    def rows(self, numbers: Tensor) -> Tensor:
        """Its rows with these numbers."""
        ...


KINDS = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
PLAIN = (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear)
"""Linear layers that do what their name says; a subclass may do something else."""


@final
class WeightOnly(nn.Module):
    """A layer whose weights are kept in few bits and made whole again at every call.

    Args:
        layer: Whose place it takes; everything but the weight is shared with it.
        packed: Its weight.
    """

    def __init__(self, layer: nn.Module, packed: Packed) -> None:
        super().__init__()
        others = {id(part): part for part in [*layer.parameters(), *layer.buffers()]}
        own: Any = layer.weight
        shell: Any = nn.Parameter(torch.empty_like(own, device="meta"), requires_grad=False)
        self._layer = copy.deepcopy(layer, {**others, id(own): shell})
        self._packed = packed
        self._looked_up = isinstance(layer, nn.Embedding) and layer.max_norm is None

    @property
    def weight(self) -> Tensor:
        """The rounded weight, for code that reads it without a call."""
        return self._packed.values()

    @property
    def bias(self) -> Any:
        """That of the layer."""
        return getattr(self._layer, "bias", None)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer gives with the rounded weight."""
        if self._looked_up:
            return self._packed.rows(*args, **kwargs)
        return functional_call(self._layer, {"weight": self._packed.values()}, args, kwargs)


@final
class Dynamic(nn.Module):
    """A linear layer that multiplies in 8 bits, by torch's own kernels on the CPU.

    Args:
        layer: Whose place it takes.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        # Subclasses that behave alike are not on torch's list.
        plain = nn.Linear(layer.in_features, layer.out_features, device="meta")
        plain.weight, plain.bias = layer.weight, layer.bias
        with warnings.catch_warnings():
            # Both say that torch will move this elsewhere: the caller asks whether it is there.
            warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated")
            warnings.filterwarnings("ignore", message="torch.quantize_per_")
            quantization = torch.ao.quantization
            rows = {nn.Linear: quantization.per_channel_dynamic_qconfig}
            self._inner: Any = quantization.quantize_dynamic(nn.Sequential(plain), rows)[0]

    @property
    def weight(self) -> Tensor:
        """The rounded weight, for code that reads it without a call."""
        return self._inner.weight().dequantize()

    @property
    def bias(self) -> Any:
        """That of the layer."""
        return self._inner.bias()

    @property
    def bytes(self) -> int:
        """Weights, and for each row the scale and the zero point as torch keeps them, in 8 bytes each."""
        weight = self._inner.weight()
        return weight.numel() + 16 * len(weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self._inner(inputs)


Rounded = WeightOnly | Dynamic


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What can be exchanged.

    Attributes:
        places: Name of each place -> the layer that is there.
        made: id of a layer -> what takes its place.
        size: Bytes of parameters and buffers then.
        rounded: Weights that are rounded.
    """

    places: Mapping[str, nn.Module]
    made: Mapping[int, nn.Module]
    size: int
    rounded: int


def plain_size(task: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(task).values())


@torch.no_grad()
def packed(task: nn.Module, pack: Callable[[Tensor], Packed]) -> Swap:
    """Every layer with a weight in few bits; a weight that two layers share stays shared.

    Args:
        task: Whose layers.
        pack: Rounds one weight.
    """
    places = dict(_rounded_places(task))
    weights: dict[int, Tensor] = {id(layer.weight): _weight(layer) for layer in places.values()}
    rounded = {key: pack(weight) for key, weight in weights.items()}
    made = {id(layer): WeightOnly(layer, rounded[id(layer.weight)]).eval() for layer in places.values()}
    rest = sum(t.numel() * t.element_size() for key, t in _tensors(task).items() if key not in weights)
    return Swap(
        places=places,
        made=made,
        size=rest + sum(weight.bytes for weight in rounded.values()),
        rounded=sum(weight.numel() for weight in weights.values()),
    )


def prunable(task: nn.Module) -> list[Tensor]:
    """Each weight that `packed` would take, once."""
    return [*{id(layer.weight): _weight(layer) for _, layer in _rounded_places(task)}.values()]


@torch.no_grad()
def dynamic(task: nn.Module) -> Swap:
    """Every linear layer in 8 bits."""
    places = {name: layer for name, layer in _rounded_places(task) if type(layer) in PLAIN}
    made = {id(layer): Dynamic(layer).eval() for layer in places.values()}
    weights = {id(layer.weight): layer.weight.numel() for layer in places.values()}
    others = named_modules(task).values()
    # A weight that another kind of layer has, too, stays for that one.
    still = {id(weight) for module in others if id(module) not in made for weight in module.parameters(recurse=False)}
    rest = sum(t.numel() * t.element_size() for key, t in _tensors(task).items() if key not in weights or key in still)
    return Swap(
        places=places,
        made=made,
        size=rest + sum(layer.bytes for layer in made.values()),
        rounded=sum(weights.values()),
    )


@contextmanager
def swapped(task: nn.Module, swap: Swap) -> Generator[None]:
    """The task with other layers in the places; the own ones come back whatever happens."""
    try:
        for name, layer in swap.places.items():
            task.set_submodule(name, swap.made[id(layer)])
        yield
    finally:
        for name, layer in swap.places.items():
            task.set_submodule(name, layer)


def _rounded_places(task: nn.Module) -> Iterator[tuple[str, Any]]:
    # Transformers' own linear layer, where somebody has imported it.
    other: Any = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", nn.Linear)
    for name, layer in task.named_modules(remove_duplicate=False):
        own = "weight" in dict(layer.named_parameters(recurse=False))
        if name and own and isinstance(layer, (*KINDS, other)) and _weight(layer).is_floating_point():
            yield name, layer


def _weight(layer: Any) -> Tensor:
    return layer.weight.detach()


def _tensors(task: nn.Module) -> dict[int, Tensor]:
    return {id(tensor): tensor for tensor in [*task.parameters(), *task.buffers()]}
