"""The least that a private step needs, written down by hand for the layers of the benchmark's models.

Forward, backward to the outputs of the layers without a gradient of a weight, the norms of the gradients of single
examples, their clipped sum, noise, and the optimizer's step: no hook, no draw, no control, no Lightning. Where several
rules give the norms and the sum of a kind of layers, whole steps are timed before, and the quickest rule is taken. What
comes out is held against the engine and one example at a time, or the time would say nothing.
"""

import copy
import os
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from private_runs import clipped, objective
from steelyard_privacy._convolution import convolution_samples
from steelyard_privacy._engine import HookEngine, MicrobatchEngine
from steelyard_privacy._randomness import CipherNormals
from steelyard_privacy._sums import Layout, Sums

CLOSE = 1e-10
"""How far the sum may lie from that of one example at a time, relatively, in double precision: in single, a ReLU may
tell a number that is all but zero to the other side."""
TRIES = 11
"""Steps by each rule."""
MAX_NORM = 1.0


class Call(NamedTuple):
    """What went into a layer and came out of it."""

    layer: nn.Module
    inputs: Tensor
    output: Tensor


class Found(NamedTuple):
    """The squares of a layer's norms (n,), and what adds the weighed sum to the gradients of its weight and bias."""

    squares: Tensor
    add: Callable[[Tensor, Tensor, Tensor], None]


Rule = Callable[[Call, Tensor], Found]
"""A call and the gradient of its output -> what was found."""


def once(call: Call, back: Tensor) -> Found:
    """A Linear layer at one position: the norm of a product of two vectors."""

    def add(weights: Tensor, weight: Tensor, bias: Tensor) -> None:
        scaled = back * weights[:, None]
        torch.mm(scaled.T, call.inputs, out=weight)
        torch.sum(scaled, dim=0, out=bias)

    return Found(squares(back) * (squares(call.inputs) + 1), add)


def pairs(call: Call, back: Tensor) -> Found:
    """A Linear layer at several positions: all pairs of positions (Li et al. 2022)."""
    whole = _paired(back, back, call.inputs, call.inputs)
    return Found(whole, lambda *into: _flat(call, back, *into))


def halves(call: Call, back: Tensor) -> Found:
    """The same without a quarter that stands there twice."""
    half = back.shape[1] // 2
    (early, late), (before, after) = back.split([half, len(back[0]) - half], 1), call.inputs.split([half, half], 1)
    whole = _paired(early, early, before, before) + _paired(late, late, after, after)
    whole += _paired(early, late, before, after).mul_(2)
    return Found(whole, lambda *into: _flat(call, back, *into))


def _paired(back: Tensor, others: Tensor, inputs: Tensor, beside: Tensor) -> Tensor:
    into = torch.bmm(inputs, beside.transpose(1, 2))
    return torch.bmm(back, others.transpose(1, 2)).mul_(into.add_(1)).sum(dim=(1, 2))


def _flat(call: Call, back: Tensor, weights: Tensor, weight: Tensor, bias: Tensor) -> None:
    spread = weights.repeat_interleave(back.shape[1])
    back, inputs = back.flatten(end_dim=1), call.inputs.flatten(end_dim=1)
    torch.mv(back.T, spread, out=bias)
    if back.shape[1] <= inputs.shape[1]:
        back = back * spread[:, None]
    else:
        inputs = inputs * spread[:, None]
    torch.mm(back.T, inputs, out=weight)


def products(call: Call, back: Tensor) -> Found:
    """A Linear layer at several positions: its gradients themselves."""
    return _made(torch.bmm(back.transpose(1, 2), call.inputs), back.sum(dim=1))


def shorter(call: Call, back: Tensor) -> Found:
    """A Linear layer at several positions: its gradients where they are no more numbers than what they are made of."""
    length, p, d = back.shape[1], back.shape[2], call.inputs.shape[2]
    return products(call, back) if length * (p + d) >= p * d else halves(call, back)


def _made(samples: Tensor, biases: Tensor) -> Found:
    def add(weights: Tensor, weight: Tensor, bias: Tensor) -> None:
        torch.mm(weights[None], rows, out=weight.view(1, -1))
        torch.mm(weights[None], biases, out=bias.view(1, -1))

    rows = samples.flatten(start_dim=1)
    return Found(squares(rows) + squares(biases), add)


def normalised(call: Call, back: Tensor) -> Found:
    """A norm layer, whose input is normalised once more."""
    if isinstance(call.layer, nn.LayerNorm):
        normed = functional.layer_norm(call.inputs, call.layer.normalized_shape)
        return _made(normed.mul_(back).sum(dim=1), back.sum(dim=1))
    normed = functional.group_norm(call.inputs, call.layer.num_groups)
    return _made(normed.mul_(back).sum(dim=(2, 3)), back.sum(dim=(2, 3)))


def out_of_output(call: Call, back: Tensor) -> Found:
    """A norm layer, whose normalised input is read off its output."""
    over = 1 if isinstance(call.layer, nn.LayerNorm) else (2, 3)
    biases = back.sum(dim=over)
    both = (call.output * back).sum(dim=over)
    return _made((both - call.layer.bias * biases) / call.layer.weight, biases)


def patches(call: Call, back: Tensor) -> Found:
    """A convolution as products, of all examples at once."""
    layer = call.layer
    seen = functional.unfold(call.inputs, layer.kernel_size, padding=layer.padding, stride=layer.stride)
    back = back.flatten(start_dim=2)
    return _made(torch.bmm(back, seen.transpose(1, 2)), back.sum(dim=2))


def by_engine(call: Call, back: Tensor) -> Found:
    """A convolution as the engine works on it, some examples at a time."""
    samples = convolution_samples(call.layer, back, call.inputs)
    rows, biases = samples.values.flatten(start_dim=1), back.sum(dim=(2, 3))

    def add(weights: Tensor, weight: Tensor, bias: Tensor) -> None:
        into = weight.permute(samples.order)
        into.copy_(torch.mm(weights[None], rows).view(into.shape))
        torch.mm(weights[None], biases, out=bias.view(1, -1))

    return Found(squares(rows) + squares(biases), add)


def named(call: Call, back: Tensor) -> Found:
    """An embedding: rows that an example names twice are added up before the norm."""
    count, length = call.inputs.shape
    owners = torch.arange(count)[:, None].expand(count, length).flatten()
    names, inverse = (owners * call.layer.num_embeddings + call.inputs.flatten()).unique(return_inverse=True)
    values = back.new_zeros(len(names), back.shape[-1]).index_add_(0, inverse, back.flatten(end_dim=1))
    whose = names // call.layer.num_embeddings
    found = back.new_zeros(count).index_add_(0, whose, squares(values))

    def add(weights: Tensor, weight: Tensor, bias: Tensor) -> None:
        weight.zero_().index_add_(0, names % call.layer.num_embeddings, values * weights[whose, None])

    return Found(found, add)


def squares(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1).square_()


RULES: dict[type[nn.Module], tuple[Rule, ...]] = {
    nn.Linear: (pairs, halves, shorter, products),
    nn.Conv2d: (patches, by_engine),
    nn.LayerNorm: (normalised, out_of_output),
    nn.GroupNorm: (normalised, out_of_output),
    nn.Embedding: (named,),
}
"""Those that are known to be right, by the kind of layer."""


class Floor:
    """A private step of one model.

    Args:
        model: A chain of layers, or one that calls its layers by a second argument of its forward.
        inputs: Of the batch.
        targets: Its classes.
        rules: By the kind of layer; without them, the quickest.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, rules: Mapping[type, Rule] = MappingProxyType({})
    ) -> None:
        self.model, self.batch = model, (inputs, targets)
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.layout = Layout(weights)
        self.total = self.layout.zeros()
        self.parts = dict(zip(weights, self.layout.parts(self.total), strict=True))
        self.normals = CipherNormals(os.urandom(16), ahead=True)
        self.engine, self.sums = HookEngine(model, self.layout), Sums(self.layout)
        self.rules = dict(rules) or {kind: known[0] for kind, known in RULES.items()}
        if not rules:
            self._choose()

    def step(self) -> None:
        """One step, with its noise."""
        self._released(self.sum_up())

    def private(self) -> None:
        """The same by the engine, also without Lightning."""
        self.sums.reset(patient=False)
        self.engine.add_clipped(
            self.sums, self.batch, count=len(self.batch[0]), objective=objective(self.model), max_norm=MAX_NORM
        )
        self._released(self.sums.total())

    def plain(self) -> None:
        """The same without privacy."""
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(self.batch[0]), self.batch[1]).backward()
        self.optimizer.step()

    def sum_up(self) -> Tensor:
        """The sum of the clipped gradients."""
        waiting, found = self._backwards(), list[tuple[nn.Module, Found]]()
        with torch.no_grad():
            while waiting:
                # What a rule does not keep goes at once.
                call, back = waiting.pop()
                found.append((call.layer, self._rule(call)(call, back)))
                del call, back
            norms = torch.stack([one.squares for _, one in found]).sum(dim=0).sqrt_()
            weights = norms.clamp_(min=MAX_NORM).reciprocal_().mul_(MAX_NORM)
            for layer, one in found:
                one.add(weights, *self._places(layer))
        return self.total

    def check(self) -> None:
        """Holds the sum against the engine's, and against one example at a time.

        Raises:
            AssertionError: If they differ.
        """
        wide = [one.double() if one.is_floating_point() else one for one in self.batch]
        twin = Floor(copy.deepcopy(self.model).double(), *wide, rules=self.rules)
        for engine in (HookEngine(twin.model, twin.layout), MicrobatchEngine()):
            theirs, _ = clipped(engine, twin.layout, wide, objective(twin.model), max_norm=MAX_NORM)
            distance = float((twin.sum_up() - theirs).norm() / theirs.norm())
            assert distance <= CLOSE, f"the floor's sum is {distance:.1e} away from that of {type(engine).__name__}"

    def _released(self, total: Tensor) -> None:
        self.normals.blur(total, factor=1 / len(self.batch[0]), scale=MAX_NORM / len(self.batch[0]))
        for weight, part in zip(self.layout.parameters, self.layout.parts(total), strict=True):
            weight.grad = part
        self.optimizer.step()

    def _backwards(self) -> list[tuple[Call, Tensor]]:
        calls: list[Call] = []

        def call(layer: nn.Module, inputs: Tensor) -> Tensor:
            output = layer(inputs)
            if any(weight.requires_grad for weight in layer.parameters()):
                calls.append(Call(layer, inputs.detach(), output))
            return output

        model, inputs = self.model, self.batch[0]
        if isinstance(model, nn.Sequential):
            for layer in model:
                inputs = call(layer, inputs)
        else:
            inputs = model(inputs, call)
        loss = functional.cross_entropy(inputs, self.batch[1], reduction="sum")
        backs = torch.autograd.grad(loss, [one.output for one in calls])
        kept = [
            one._replace(output=one.output.detach() if isinstance(one.layer, nn.LayerNorm | nn.GroupNorm) else back)
            for one, back in zip(calls, backs, strict=True)
        ]
        return list(zip(kept, backs, strict=True))

    def _rule(self, call: Call) -> Rule:
        return once if isinstance(call.layer, nn.Linear) and call.inputs.ndim == 2 else self.rules[type(call.layer)]

    def _places(self, layer: nn.Module) -> tuple[Tensor, Tensor]:
        bias = getattr(layer, "bias", None)
        return self.parts[layer.weight], self.total[:0] if bias is None else self.parts[bias]

    def _choose(self) -> None:
        for kind in {type(call.layer) for call, _ in self._backwards()}:
            found: dict[Rule, list[float]] = {rule: [] for rule in RULES[kind]}
            for _ in range(TRIES):
                for rule, seconds in found.items():
                    self.rules[kind] = rule
                    start = time.process_time()
                    self.sum_up()
                    seconds.append(time.process_time() - start)
            # Others on the machine only ever make a step longer.
            self.rules[kind] = min(found, key=lambda rule: min(found[rule]))
