# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of single layers, from what went in and the gradient of what came out."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torch.nn import Parameter, functional

from steelyard_privacy._recording import Call
from steelyard_privacy._shares import Instantiated, Products, Rows, Share

GRAM, GRAM_OF_LARGE, LARGE = 20, 64, 4_000_000
"""Pairs of positions are cheaper than the product where t^2 (p + d) is at most so many times p d. Measured on one core;
the larger number where the products of all examples, in elements, do not fit into its cache."""


def supported(module: nn.Module) -> bool:
    """True for a layer whose per-example gradients follow from its input and the gradient of its output.

    Only exact types: a subclass may use its weights in another way.
    """
    rule = _CONDITIONS.get(type(module), _never)
    own = dict(module.named_parameters(recurse=False))
    plain = own.keys() <= {"weight", "bias"} and not list(module.children())
    return plain and (rule(module) or _is_conv1d_of_transformers(module))


def shares(calls: Sequence[Call], backprops: Sequence[Tensor | None], *, count: int) -> list[Share] | None:
    """The per-example gradients of `count` examples.

    Args:
        calls: All calls of all layers in one forward pass.
        backprops: Gradient of the sum of the examples' losses for each call's output; None where it has no influence.
        count: Number of examples.

    Returns:
        None if some layer does not see the examples in its first dimension.
    """
    live = [(call, back) for call, back in zip(calls, backprops, strict=True) if back is not None]
    if any(call.inputs.shape[:1] != (count,) or call.shape[:1] != (count,) for call, _ in live):
        return None
    uses: dict[Parameter, int] = {}
    for call, _ in live:
        for parameter in _trained(call.module):
            uses[parameter] = uses.get(parameter, 0) + 1
    found: list[Share] = []
    sums: dict[Parameter, Tensor] = {}
    for call, back in live:
        for share in _of(call, back.reshape(call.shape), alone=all(uses[one] == 1 for one in _trained(call.module))):
            if not isinstance(share, Instantiated):
                found.append(share)
                continue
            # A parameter that is used more than once, also by different layers, adds up before it is clipped.
            before = sums.get(share.parameter)
            sums[share.parameter] = share.samples if before is None else before + share.samples
    return [*found, *(Instantiated(parameter, samples) for parameter, samples in sums.items())]


def _of(call: Call, back: Tensor, *, alone: bool) -> Iterator[Share]:
    layer: Any = call.module
    wide = torch.promote_types(back.dtype, torch.float32)
    back = back.to(wide)
    inputs = call.inputs.to(wide) if call.inputs.is_floating_point() else call.inputs
    own: Any = dict(layer.named_parameters(recurse=False))
    if isinstance(layer, nn.Linear):
        yield from _linear(own["weight"], own.get("bias"), back, inputs, output_first=True, alone=alone)
    elif _is_conv1d_of_transformers(layer):
        yield from _linear(own["weight"], own["bias"], back, inputs, output_first=False, alone=alone)
    elif isinstance(layer, nn.Embedding) and alone:
        yield from _embedding(layer, back, inputs)
    elif isinstance(layer, nn.LayerNorm | nn.GroupNorm):
        yield from _norm(layer, back, inputs)
    elif isinstance(layer, nn.Conv2d) and layer.groups == 1 and not isinstance(layer.padding, str):
        yield from _convolution(layer, back, inputs)
    else:
        for parameter, samples in _by_opacus(layer, back, inputs).items():
            yield Instantiated(parameter, samples)


def _linear(
    weight: Parameter, bias: Parameter | None, back: Tensor, inputs: Tensor, *, output_first: bool, alone: bool
) -> Iterator[Share]:
    count, p, d = len(back), back.shape[-1], inputs.shape[-1]
    back, inputs = back.reshape(count, -1, p), inputs.reshape(count, -1, d)
    if weight.requires_grad:
        left, right = (back, inputs) if output_first else (inputs, back)
        if alone and pairs_are_cheaper(count=count, length=back.shape[1], p=p, d=d):
            yield Products(weight, left, right)
        else:
            yield Instantiated(weight, torch.bmm(left.transpose(1, 2), right))
    if bias is not None and bias.requires_grad:
        yield Instantiated(bias, back.sum(dim=1) if back.shape[1] > 1 else back[:, 0])


def pairs_are_cheaper(*, count: int, length: int, p: int, d: int) -> bool:
    """Whether norms cost less from all pairs of `length` positions than from `count` products of the shape (p, d)."""
    factor = GRAM if count * p * d <= LARGE else GRAM_OF_LARGE
    return length == 1 or length * length * (p + d) <= factor * p * d


def _embedding(layer: Any, back: Tensor, names: Tensor) -> Iterator[Share]:
    if layer.weight.requires_grad:
        count = len(names)
        yield Rows.of(layer.weight, names.reshape(count, -1), back.reshape(count, -1, back.shape[-1]))


def _norm(layer: Any, back: Tensor, inputs: Tensor) -> Iterator[Share]:
    weight, bias = layer.weight, layer.bias
    if isinstance(layer, nn.LayerNorm):
        normed = (
            functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps) if weight.requires_grad else inputs
        )
        over = tuple(range(1, back.ndim - len(layer.normalized_shape)))
    else:
        normed = functional.group_norm(inputs, layer.num_groups, eps=layer.eps) if weight.requires_grad else inputs
        over = tuple(range(2, back.ndim))
    if weight.requires_grad:
        yield Instantiated(weight, _summed(normed * back, over))
    if bias.requires_grad:
        yield Instantiated(bias, _summed(back, over))


def _convolution(layer: Any, back: Tensor, inputs: Tensor) -> Iterator[Share]:
    count, channels = back.shape[:2]
    back = back.reshape(count, channels, -1)
    if layer.weight.requires_grad:
        patches = functional.unfold(
            inputs.contiguous(),
            layer.kernel_size,
            dilation=layer.dilation,
            padding=layer.padding,
            stride=layer.stride,
        )
        samples = torch.bmm(back, patches.transpose(1, 2))
        yield Instantiated(layer.weight, samples.view(count, *layer.weight.shape))
    if layer.bias is not None and layer.bias.requires_grad:
        yield Instantiated(layer.bias, back.sum(dim=2))


def _by_opacus(layer: nn.Module, back: Tensor, inputs: Tensor) -> Mapping[Parameter, Tensor]:
    rule: Any = GradSampleModule.GRAD_SAMPLERS[type(layer)]
    # Opacus unfolds images by their strides, and gets those with the channels last in memory wrong.
    return rule(layer, [inputs.contiguous()], back.contiguous())


def _summed(values: Tensor, over: tuple[int, ...]) -> Tensor:
    return values.sum(dim=over) if over else values


def _trained(module: nn.Module) -> list[Parameter]:
    return [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]


def _is_conv1d_of_transformers(module: nn.Module) -> bool:
    """GPT-2's Linear layer, whose weight is (d, p); the library is not asked for where nobody has loaded it."""
    home: Any = sys.modules.get("transformers.pytorch_utils")
    return home is not None and type(module) is home.Conv1D


def _never(module: Any) -> bool:
    del module
    return False


def _always(module: Any) -> bool:
    del module
    return True


def _zero_padded(module: Any) -> bool:
    return module.padding_mode == "zeros"


def _affine(module: Any) -> bool:
    return module.weight is not None and module.bias is not None


def _plain_embedding(module: Any) -> bool:
    special = module.max_norm is not None or module.padding_idx is not None
    return not (special or module.scale_grad_by_freq or module.sparse)


_CONDITIONS: dict[type[nn.Module], Callable[[Any], bool]] = {
    nn.Linear: _always,
    nn.Conv1d: _zero_padded,
    nn.Conv2d: _zero_padded,
    nn.Conv3d: _zero_padded,
    nn.GroupNorm: _affine,
    nn.LayerNorm: _affine,
    nn.Embedding: _plain_embedding,
}
