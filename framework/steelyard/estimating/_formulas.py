# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""FLOPs of operations for which torch has no formula, or a wrong one; a multiply-accumulate is 2.

Each formula gets the shapes in the place of the tensors, and what else the operation got as it was.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

Shape = Sequence[int]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


def _recurrence(inputs: Shape, weight: Shape, hidden: Shape, *_: Any, **__: Any) -> int:
    """Each step multiplies the input and the state with their weights (gates * hidden, ...)."""
    return 2 * inputs[0] * inputs[1] * (math.prod(weight) + math.prod(hidden))


def _recurrence_backward(inputs: Shape, weight: Shape, hidden: Shape, *_: Any, **__: Any) -> int:
    """The gradient of inputs and states, and that of the weights, each as dear as the forward pass."""
    return 2 * _recurrence(inputs, weight, hidden)


def _convolution_backward(
    grad: Shape,
    inputs: Shape,
    weight: Shape,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """The gradient of inputs and that of the weights, each as dear as the forward pass.

    A weight (out, in / groups, ...) meets each example at every place of the output, or of the input of a transposed
    one. Torch's own formula takes the gradient of the weights for that of a convolution without groups.
    """
    del bias, stride, padding, dilation, output_padding, groups
    places = math.prod((inputs if transposed else grad)[2:])
    return (wanted[0] + wanted[1]) * 2 * inputs[0] * places * math.prod(weight)


def _vector(matrix: Shape, vector: Shape, **_: Any) -> int:
    """(n, m) @ (m,), or (m,) @ (m,)."""
    del vector
    return 2 * math.prod(matrix)


def _added_vector(added: Shape, matrix: Shape, vector: Shape, **_: Any) -> int:
    """(n,) + (n, m) @ (m,)."""
    del added
    return _vector(matrix, vector)


def _added_batch(added: Shape, left: Shape, right: Shape, **_: Any) -> int:
    """(n, p) + the sum of (b, n, m) @ (b, m, p)."""
    del added
    return 2 * math.prod(left) * right[-1]


def _three(
    one: Shape,
    two: Shape,
    three: Shape,
    places1: Shape,
    places2: Shape,
    places3: Shape,
    *_: Any,
    **__: Any,
) -> int:
    """A product of three with a sum over some dimensions, as of `nn.Bilinear`: each place counts once."""
    shapes = [_expanded(*pair) for pair in ((one, places1), (two, places2), (three, places3))]
    return 2 * math.prod(torch.broadcast_shapes(*shapes))


def _expanded(shape: Shape, places: Shape) -> list[int]:
    grown = [*shape]
    for place in places:
        grown.insert(place, 1)
    return grown


_ATEN = torch.ops.aten
FORMULAS: dict[Any, Callable[..., int]] = {
    _ATEN.mkldnn_rnn_layer: _recurrence,
    _ATEN.mkldnn_rnn_layer_backward: _recurrence_backward,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    _ATEN.convolution_backward: _convolution_backward,
    _ATEN.mv: _vector,
    _ATEN.dot: _vector,
    _ATEN.vdot: _vector,
    _ATEN.addmv: _added_vector,
    _ATEN.addbmm: _added_batch,
    _ATEN._trilinear: _three,
}
