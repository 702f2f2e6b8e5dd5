# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Frozen layers whose weights are kept in four bits, and through which gradients pass."""

from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from steelyard._untyped import named_modules
from steelyard_compute._normal_float import NormalFloat

MATRICES = (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear, Conv1D)
"""Exact types: a subclass may do something else with its weight."""


class _Kept(nn.Module):
    """A weight in four bits as buffers, so that it moves, is saved and is loaded with the module.

    Args:
        packed: The weight.

    Attributes:
        packed_weights: How many weights these bits stand for; `steelyard plan` counts them.
    """

    pairs: Tensor
    scales: Tensor
    coarse: Tensor

    def __init__(self, packed: NormalFloat) -> None:
        super().__init__()
        for name in ("pairs", "scales", "coarse"):
            self.register_buffer(name, getattr(packed, name))
        self._shape, self._block, self._format = packed.shape, packed.block, packed.format
        self.packed_weights = packed.shape.numel()

    @property
    def packed(self) -> NormalFloat:
        """The weight as it is kept."""
        return NormalFloat(self.pairs, self.scales, self.coarse, self._shape, self._block, self._format)

    @property
    def weight(self) -> Tensor:
        """The rounded weight in whole numbers, made anew, for code that reads it without a call."""
        return self.packed.values()

    def extra_repr(self) -> str:
        """Shape and format."""
        return f"{tuple(self._shape)}, NF4 in blocks of {self._block}"


@final
class FourBitMatrix(_Kept):
    """A linear layer, or the Conv1D of transformers; its bias stays as it is.

    Args:
        layer: Whose place it takes.
        packed: Its weight.
    """

    def __init__(self, layer: nn.Module, packed: NormalFloat) -> None:
        super().__init__(packed)
        own: Any = layer
        self.bias = cast("nn.Parameter | None", own.bias)
        self._turned = isinstance(layer, Conv1D)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return cast("Tensor", _Product.apply(inputs, self.bias, self.packed, self._turned))

    def whole(self) -> nn.Module:
        """The layer as it would be with the rounded weight in whole numbers."""
        weight = self.weight
        rows, columns = weight.shape
        made: Any = Conv1D(columns, rows) if self._turned else nn.Linear(columns, rows, device="meta")
        made.weight = nn.Parameter(weight, requires_grad=False)
        made.bias = self.bias
        return made


@final
class FourBitEmbedding(_Kept):
    """Rows of a table.

    Args:
        packed: The table.
    """

    def forward(self, numbers: Tensor) -> Tensor:
        """Numbers of rows, any shape -> that shape and a row."""
        return self.packed.rows(numbers)


@final
class _Product(Function):
    """A matrix product that keeps neither inputs nor the whole weight for the way back, where it is made anew."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs: Tensor, bias: Tensor | None, packed: NormalFloat, turned: bool) -> Tensor:
        """(..., in) -> (..., out), as the linear layer with the rounded weight."""
        return functional.linear(inputs, _matrix(packed, turned, inputs.dtype), bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps what is small."""
        del output
        given, _, ctx.packed, ctx.turned = inputs
        ctx.format = given.dtype

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Of the inputs and of the bias; there is none of the weight."""
        (grad,) = grads
        given = bias = None
        if ctx.needs_input_grad[0]:
            given = (grad @ _matrix(ctx.packed, ctx.turned, grad.dtype)).to(ctx.format)
        if ctx.needs_input_grad[1]:
            bias = grad.reshape(-1, grad.shape[-1]).sum(dim=0)
        return given, bias, None, None


def _matrix(packed: NormalFloat, turned: bool, dtype: torch.dtype) -> Tensor:
    weight = packed.values().to(dtype)
    return weight.T if turned else weight


def kept(task: nn.Module) -> dict[str, FourBitMatrix | FourBitEmbedding]:
    """The layers in four bits, by name."""
    modules = named_modules(task).items()
    return {name: module for name, module in modules if isinstance(module, FourBitMatrix | FourBitEmbedding)}


def able(layer: nn.Module, *, block: int, embeddings: bool) -> bool:
    """Whether a layer's weight can be kept in four bits: a plain matrix, or a table whose rows are whole blocks.

    Args:
        layer: Any.
        block: Weights that share a scale.
        embeddings: Whether tables are wanted.
    """
    if type(layer) is nn.Embedding:
        return embeddings and layer.max_norm is None and layer.embedding_dim % block == 0
    return type(layer) in MATRICES
