# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of single layers, from what went in and the gradient of what came out."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, final

import torch
from opacus.grad_sample import GradSampleModule
from torch import Tensor, nn
from torch.nn import Parameter, functional

from steelyard.problem import refuse
from steelyard.registry import did_you_mean
from steelyard_privacy._comparison import Comparison
from steelyard_privacy._convolution import AS_WEIGHT, at_once, convolution_samples
from steelyard_privacy._gathering import Gathering
from steelyard_privacy._moments import Gradients, Moments, gradients_of
from steelyard_privacy._recording import Call, Record, Recording
from steelyard_privacy._shares import SMALL, Instantiated, Products, Reordered, Rows, Share
from steelyard_privacy._sums import Layout
from steelyard_privacy._units import Unit, is_whole
from steelyard_privacy.dp_sgd import Way

PAIRS = 24
"""Pairs of positions are cheaper than the products where t^2 (p + d) is at most so many times p d. Measured with whole
models of 32 to 128 positions: the products of all layers at once have to be written to memory that is not at hand."""
LIGHT, SPARING = 2, 64
"""Where products would take more than so many times the memory of their factors, pairs may take longer: up to the last
in place of PAIRS. A private step of a wide model must not take the memory of all its weights for each example."""
TURNED = (1, 0)
"""A matrix with its dimensions the other way round."""
SINGLE = 4
"""Bytes of a number in single precision."""


def supported(module: nn.Module) -> bool:
    """True for a layer whose per-example gradients follow from its input and the gradient of its output.

    Only exact types: a subclass may use its weights in another way.
    """
    rule = _CONDITIONS.get(type(module), _never)
    own = dict(module.named_parameters(recurse=False))
    plain = own.keys() <= {"weight", "bias"} and not list(module.children())
    return plain and (rule(module) or _is_conv1d_of_transformers(module))


@final
class Layers:
    """The layers whose weights are trained.

    Args:
        task: The module that holds them.
        layout: The trained weights.
        ways: For paths or types of modules, how their forward is run again for single examples, instead of a rule.

    Raises:
        Refused: If such a path or type is not in the task.
    """

    def __init__(self, task: nn.Module, layout: Layout, ways: Mapping[str, Way] = MappingProxyType({})) -> None:
        self._layout = layout
        self._ways, self._known = ways, set[str]()
        self._weights: dict[nn.Module, tuple[Parameter, ...]] = {}
        self._units: dict[nn.Module, Unit] = {}
        self._users: Counter[Parameter] = Counter()
        self._visit("", task, set())
        for unknown in ways.keys() - self._known:
            raise refuse(
                f"privacy.dp_sgd.ways names {unknown}, but the task trains no weights in a layer of this path or type"
                f"{did_you_mean(unknown, self._known)}",
                fix=f"'privacy.dp_sgd.ways={{{next(iter(sorted(self._known)), 'Linear')}: {ways[unknown]}}}'",
            )
        self._recording = Recording(self._weights, self._units)
        self._tied = {module for module, weights in self._weights.items() if self._shared(weights)}

    def _visit(self, path: str, module: nn.Module, seen: set[nn.Module]) -> None:
        if module in seen:
            return
        seen.add(module)
        whole = is_whole(module)
        named = {name: weight for name, weight in module.named_parameters(recurse=whole) if self._layout.holds(weight)}
        self._users.update(named.values())
        way: Way | None = None
        if named:
            kind = type(module).__name__
            self._known |= {path, kind}
            way = self._ways.get(path) or self._ways.get(kind)
        if named and not whole and way is None and supported(module):
            self._weights[module] = tuple(named.values())
        elif named:
            self._units[module] = Unit(path, module, named, way=way)
        if not whole:
            for name, child in module.named_children():
                self._visit(f"{path}.{name}" if path else name, child, seen)

    def _shared(self, weights: Iterable[Parameter]) -> bool:
        return any(self._users[weight] > 1 for weight in weights)

    def recording(self) -> AbstractContextManager[Record]:
        """Records the calls of all of them."""
        return self._recording

    def described(self) -> list[str]:
        """How each kind of layer is worked on, most of them first."""
        kinds = Counter(type(module).__name__ for module in self._weights)
        units = [
            f"{unit.path or 'the task'} ({type(unit.module).__name__}) by {unit.way}" for unit in self._units.values()
        ]
        return [*(f"{count} {kind}" for kind, count in kinds.most_common()), *units]

    def gathering(self, record: Record, *, count: int, comparison: Comparison | None = None) -> Gathering:
        """What a backward pass through the record gives for `count` examples."""
        return Gathering(
            record,
            count=count,
            rule=self._of,
            units=self._units,
            tied=self._tied,
            order=self._layout.order,
            comparison=comparison,
        )

    def _of(self, call: Call, back: Tensor, alone: bool) -> Sequence[Share]:
        return _of(call, back, self._weights[call.module], alone=alone)


def _of(call: Call, back: Tensor, trained: tuple[Parameter, ...], *, alone: bool) -> Sequence[Share]:
    layer: Any = call.module
    back, inputs = _wide(back), _wide(call.inputs) if call.inputs.is_floating_point() else call.inputs
    kind = type(layer)
    if kind is nn.Linear:
        return _linear(trained, layer.weight, back, inputs, output_first=True, alone=alone)
    if kind is nn.Embedding and alone:
        return _embedding(layer, back, inputs)
    if kind in (nn.LayerNorm, nn.GroupNorm):
        return _norm(layer, back, inputs, call.moments)
    if kind is nn.Conv2d and layer.groups == 1 and not isinstance(layer.padding, str):
        return _convolution(layer, back, inputs, alone=alone)
    if _is_conv1d_of_transformers(layer):
        return _linear(trained, layer.weight, back, inputs, output_first=False, alone=alone)
    return [Instantiated(parameter, samples) for parameter, samples in _by_opacus(layer, back, inputs).items()]


def _wide(values: Tensor) -> Tensor:
    """In at least single precision."""
    return values.float() if values.dtype.itemsize < SINGLE else values


def _linear(
    trained: tuple[Parameter, ...], weight: Parameter, back: Tensor, inputs: Tensor, *, output_first: bool, alone: bool
) -> list[Share]:
    count, p, d = back.shape[0], back.shape[-1], inputs.shape[-1]
    length = 1 if back.ndim == 2 else back.shape[1:-1].numel()
    mine = bias = None
    for one in trained:
        if one is weight:
            mine = one
        else:
            bias = one
    # Small gradients are put together with others, which takes the fewest operations.
    in_pairs = alone and count * p * d > SMALL and pairs_are_cheaper(length=length, p=p, d=d)
    if back.ndim != (2 if length == 1 else 3):
        place = () if length == 1 else (length,)
        back, inputs = back.reshape(count, *place, p), inputs.reshape(count, *place, d)
    if in_pairs:
        return [Products(mine, bias, back, inputs, inputs_first=not output_first)]
    found: list[Share] = []
    if mine is not None:
        left, right = (back, inputs) if output_first else (inputs, back)
        if length == 1:
            found.append(Instantiated(mine, left.unsqueeze(2) * right.unsqueeze(1)))
        elif alone and left.shape[-1] > right.shape[-1] and count * p * d > SMALL:
            # Products are quicker with the wider factor last.
            found.append(Reordered(mine, torch.bmm(right.transpose(1, 2), left), TURNED))
        else:
            found.append(Instantiated(mine, torch.bmm(left.transpose(1, 2), right)))
    if bias is not None:
        found.append(Instantiated(bias, back if length == 1 else back.sum(dim=1)))
    return found


def pairs_are_cheaper(*, length: int, p: int, d: int) -> bool:
    """Whether norms cost less from all pairs of `length` positions than from products of the shape (p, d).

    Never where the products take no more memory than their factors: their sum is cheap then.
    """
    products, factors = p * d, length * (p + d)
    most = SPARING if products > LIGHT * factors else PAIRS
    return length == 1 or (products > factors and length * factors <= most * products)


def _embedding(layer: Any, back: Tensor, names: Tensor) -> list[Share]:
    if not layer.weight.requires_grad:
        return []
    count = len(names)
    if layer.padding_idx is not None:
        back = back.masked_fill((names == layer.padding_idx)[..., None], 0)
    return [Rows.of(layer.weight, names.reshape(count, -1), back.reshape(count, -1, back.shape[-1]))]


def _norm(layer: Any, back: Tensor, inputs: Tensor, moments: Moments | None) -> list[Share]:
    weight, bias, found = layer.weight, layer.bias, list[Share]()
    if moments is not None and not moments.mean.dtype == back.dtype == inputs.dtype:
        moments = None
    if moments is not None and isinstance(layer, nn.GroupNorm):
        samples = gradients_of(back, inputs, moments)
    else:
        samples = _gradients(layer, back, inputs, moments)
    if weight.requires_grad:
        found.append(Instantiated(weight, samples.weight))
    if bias.requires_grad:
        found.append(Instantiated(bias, samples.bias))
    return found


def _gradients(layer: Any, back: Tensor, inputs: Tensor, moments: Moments | None) -> Gradients:
    """Those of a norm layer, whose input is normalised once more."""
    if isinstance(layer, nn.LayerNorm):
        start, stop = 1, back.ndim - len(layer.normalized_shape)
    else:
        start, stop = 2, back.ndim
    over = tuple(range(start, stop))
    if moments is None:
        products = _normalised_products(layer, back, inputs, start=start, stop=stop)
    else:
        # To find the moments takes longer than all else here; no more is made beside than the backward pass makes next.
        products = torch.sub(inputs, moments.mean).mul_(moments.scale).mul_(back)
        products = products.sum(dim=over) if over else products
    return Gradients(products, back.sum(dim=over) if over else back)


def _normalised_products(layer: Any, back: Tensor, inputs: Tensor, *, start: int, stop: int) -> Tensor:
    """The input is normalised once more, some examples at a time."""
    over = tuple(range(start, stop))
    samples = back.new_empty(len(back), *back.shape[1:start], *back.shape[stop:])
    number = at_once(2 * back[0].numel())
    whole = ((back, inputs, samples),)
    parts = whole if number >= len(back) else zip(*(one.split(number) for one in whole[0]), strict=True)
    for mine, some, into in parts:
        if isinstance(layer, nn.LayerNorm):
            normed = functional.layer_norm(some, layer.normalized_shape, eps=layer.eps)
        else:
            normed = functional.group_norm(some, layer.num_groups, eps=layer.eps)
        torch.sum(normed.mul_(mine), dim=over, out=into) if over else torch.mul(normed, mine, out=into)
    return samples


def _convolution(layer: Any, back: Tensor, inputs: Tensor, *, alone: bool) -> list[Share]:
    found: list[Share] = []
    if layer.weight.requires_grad:
        samples = convolution_samples(layer, back, inputs)
        if samples.order == AS_WEIGHT or not alone:
            found.append(Instantiated(layer.weight, samples.ordered()))
        else:
            found.append(Reordered(layer.weight, samples.values, samples.order))
    if layer.bias is not None and layer.bias.requires_grad:
        found.append(Instantiated(layer.bias, back.sum(dim=(2, 3))))
    return found


def _by_opacus(layer: nn.Module, back: Tensor, inputs: Tensor) -> Mapping[Parameter, Tensor]:
    rule: Any = GradSampleModule.GRAD_SAMPLERS[type(layer)]
    # Opacus unfolds images by their strides, and gets those with the channels last in memory wrong.
    return rule(layer, [inputs.contiguous()], back.contiguous())


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
    return not (module.max_norm is not None or module.scale_grad_by_freq or module.sparse)


_CONDITIONS: dict[type[nn.Module], Callable[[Any], bool]] = {
    nn.Linear: _always,
    nn.Conv1d: _zero_padded,
    nn.Conv2d: _zero_padded,
    nn.Conv3d: _zero_padded,
    nn.GroupNorm: _affine,
    nn.LayerNorm: _affine,
    nn.Embedding: _plain_embedding,
}
