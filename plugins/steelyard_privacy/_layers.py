# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of single layers, from what went in and the gradient of what came out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torch.nn import Parameter


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer.

    Attributes:
        module: The layer.
        inputs: What went in, detached.
        output: What came out, part of the graph.
    """

    module: nn.Module
    inputs: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True)
class OuterProducts:
    """The per-example gradients of a Linear layer on (n, d) inputs, kept as their factors (Goodfellow 2015).

    Attributes:
        weight: (p, d).
        bias: (p,) or None.
        inputs: (n, d).
        backprops: (n, p).
    """

    weight: Parameter
    bias: Parameter | None
    inputs: Tensor
    backprops: Tensor

    def squared_norms(self) -> Tensor:
        """|a g^T|^2 = |a|^2 |g|^2, per example."""
        g = self.backprops.square().sum(dim=1)
        total = torch.zeros_like(g)
        if self.weight.requires_grad:
            total += g * self.inputs.square().sum(dim=1)
        if self.bias is not None and self.bias.requires_grad:
            total += g
        return total

    def weighted_sums(self, weights: Tensor) -> Iterator[tuple[Parameter, Tensor]]:
        """The sum of w_i times the gradient of example i, for each parameter; examples of weight 0 are left out."""
        scaled = _weighted(self.backprops, weights)
        if self.weight.requires_grad:
            yield self.weight, scaled.T @ _weighted(self.inputs, (weights != 0).to(weights.dtype))
        if self.bias is not None and self.bias.requires_grad:
            yield self.bias, scaled.sum(dim=0)


@dataclass(frozen=True, slots=True)
class Instantiated:
    """The per-example gradients of one parameter, (n, *shape)."""

    parameter: Parameter
    samples: Tensor

    def squared_norms(self) -> Tensor:
        """Per example."""
        return self.samples.flatten(start_dim=1).square().sum(dim=1)

    def weighted_sums(self, weights: Tensor) -> Iterator[tuple[Parameter, Tensor]]:
        """The sum of w_i times the gradient of example i; examples of weight 0 are left out."""
        yield self.parameter, _weighted(self.samples, weights).sum(dim=0)


Share = OuterProducts | Instantiated
"""One summand of the per-example gradients; different shares belong to different parameters."""


def supported(module: nn.Module) -> bool:
    """True for a layer whose per-example gradients follow from its input and the gradient of its output.

    Only exact types: a subclass may use its weights in another way.
    """
    rule = _CONDITIONS.get(type(module))
    own = dict(module.named_parameters(recurse=False))
    plain = own.keys() <= {"weight", "bias"} and not list(module.children())
    return rule is not None and plain and rule(module)


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
    if any(len(call.inputs) != count or len(back) != count for call, back in live):
        return None
    owners: dict[Parameter, int] = {}
    for call, _ in live:
        for parameter in call.module.parameters(recurse=False):
            owners[parameter] = owners.get(parameter, 0) + 1
    found: list[Share] = []
    sums: dict[Parameter, Tensor] = {}
    for call, back in live:
        layer = call.module
        alone = all(owners[parameter] == 1 for parameter in layer.parameters(recurse=False))
        if isinstance(layer, nn.Linear) and call.inputs.ndim == 2 and alone:
            own = dict(layer.named_parameters(recurse=False))
            wide = _wide(back)
            found.append(OuterProducts(own["weight"], own.get("bias"), call.inputs.to(wide), back.to(wide)))
            continue
        # A parameter that is used more than once, also by different layers, adds up before it is clipped.
        for parameter, samples in _instantiate(call, back).items():
            sums[parameter] = sums[parameter] + samples if parameter in sums else samples
    return [*found, *(Instantiated(parameter, samples) for parameter, samples in sums.items())]


def _instantiate(call: Call, back: Tensor) -> Mapping[Parameter, Tensor]:
    rule: Any = GradSampleModule.GRAD_SAMPLERS[type(call.module)]
    wide = _wide(back)
    inputs = call.inputs.to(wide) if call.inputs.is_floating_point() else call.inputs
    with torch.no_grad():
        # Opacus unfolds images by their strides, and gets those with the channels last in memory wrong.
        return rule(call.module, [inputs.contiguous()], back.to(wide).contiguous())


def _weighted(samples: Tensor, weights: Tensor) -> Tensor:
    factors = weights.to(samples.dtype).view(-1, *[1] * (samples.ndim - 1))
    # 0 * NaN is NaN: what has weight 0 must really go.
    return torch.where(factors == 0, torch.zeros_like(samples), factors * samples)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


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
