# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of single weights, in the form in which their norms and their sum cost least.

All classes here take `weights` (n,), none of them 0: examples that are left out are taken away by `only` before,
since 0 * NaN is NaN. Nobody changes one; they are not frozen, since that takes longer to make than an operation on few
numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn import Parameter

from steelyard_privacy._sums import Sums

LONG, MUCH = 64, 2**24
"""Positions, and multiplications, from which on a product of half the size is quicker than what it takes to call it."""
SMALL = 2**14
"""Numbers up to which gradients are put together with others: a call takes longer than the work in it."""


class Share(ABC):
    """One summand of the per-example gradients; different shares belong to different weights."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """The weights whose gradients these are."""

    @abstractmethod
    def norms(self) -> Tensor:
        """Per example, (n,)."""

    @abstractmethod
    def only(self, rows: Tensor) -> "Share":
        """The examples at some positions."""

    @abstractmethod
    def add_to(self, sums: Sums, weights: Tensor) -> None:
        """Adds the sum of w_i times the gradient of example i."""


@final
@dataclass(slots=True, eq=False)
class Instantiated(Share):
    """The per-example gradients of one weight, (n, *shape)."""

    parameter: Parameter
    samples: Tensor

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weight."""
        return (self.parameter,)

    def norms(self) -> Tensor:
        """Per example, (n,)."""
        return _norms(_rows(self.samples))

    def only(self, rows: Tensor) -> "Instantiated":
        """The examples at some positions."""
        return Instantiated(self.parameter, self.samples[rows])

    def add_to(self, sums: Sums, weights: Tensor) -> None:
        """Adds the sum of w_i times the gradient of example i."""
        sums.add_rows(self.parameter, _like(weights, self.samples), _rows(self.samples))


@final
@dataclass(slots=True, eq=False)
class Bundle(Share):
    """The gradients of several small weights side by side.

    Attributes:
        bundled: The weights.
        rows: (n, numbers of all of them), in their order.
    """

    bundled: tuple[Parameter, ...]
    rows: Tensor

    @classmethod
    def of(cls, parts: Sequence[Instantiated]) -> "Bundle":
        """From those of single weights, of one type of numbers."""
        rows = torch.cat([_rows(part.samples) for part in parts], dim=1)
        return cls(tuple(part.parameter for part in parts), rows)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weights."""
        return self.bundled

    def norms(self) -> Tensor:
        """Per example, (n,)."""
        return _norms(self.rows)

    def only(self, rows: Tensor) -> "Bundle":
        """The examples at some positions."""
        return Bundle(self.bundled, self.rows[rows])

    def add_to(self, sums: Sums, weights: Tensor) -> None:
        """Adds the sum of w_i times the gradient of example i."""
        sums.add_bundle(self.bundled, _like(weights, self.rows), self.rows)


@final
@dataclass(slots=True, eq=False)
class Reordered(Share):
    """The gradients of a weight with its dimensions in another order in memory, which only their sum is taken out of.

    Attributes:
        parameter: The weight.
        samples: (n, *its dimensions in that order).
        order: Which dimension of the weight stands at each place.
    """

    parameter: Parameter
    samples: Tensor
    order: tuple[int, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weight."""
        return (self.parameter,)

    def norms(self) -> Tensor:
        """Per example, (n,)."""
        return _norms(_rows(self.samples))

    def only(self, rows: Tensor) -> "Reordered":
        """The examples at some positions."""
        return replace(self, samples=self.samples[rows])

    def add_to(self, sums: Sums, weights: Tensor) -> None:
        """Adds the sum of w_i times the gradient of example i."""
        summed = torch.mm(_like(weights, self.samples)[None], _rows(self.samples)).view(self.samples.shape[1:])
        sums.add_reordered(self.parameter, summed, self.order)


@final
@dataclass(slots=True, eq=False)
class Products(Share):
    """The gradients of a Linear layer's weight and bias, kept as the factors of back_i^T inputs_i.

    The squared norm is the sum over all pairs of positions of (back_s . back_t)(inputs_s . inputs_t): Goodfellow (2015)
    for one position, Li et al. (2022, section 4) for several. A bias is one more input that is always 1. Where the
    positions of an example cancel each other, rounding weighs more than in the norm of the product itself.

    Attributes:
        weight: (p, d), or (d, p) where `inputs_first`; None where it is not trained.
        bias: (p,), or None.
        back: (n, t, p), or (n, p) for one position.
        inputs: (n, t, d), or (n, d).
        inputs_first: The weight is kept the other way round.
    """

    weight: Parameter | None
    bias: Parameter | None
    back: Tensor
    inputs: Tensor
    inputs_first: bool = False

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of the layer that are trained."""
        return tuple(one for one in (self.weight, self.bias) if one is not None)

    def norms(self) -> Tensor:
        """Per example, (n,)."""
        if self.back.ndim == 2:
            back = _norms(self.back)
            if self.weight is None:
                return back
            inputs = _norms(self.inputs)
            return back.mul_(inputs if self.bias is None else inputs.hypot_(inputs.new_ones(())))
        length = self.back.shape[1]
        if length < LONG or length * (self.back.numel() + self.inputs.numel()) < MUCH:
            squares = self._pairs(self.back, self.back, self.inputs, self.inputs)
        else:
            # Each pair stands there twice: of two halves of the positions, one block of four is left out.
            half = length // 2
            early, late = self.back.split([half, length - half], dim=1)
            before, after = self.inputs.split([half, length - half], dim=1)
            squares = self._pairs(early, late, before, after).mul_(2)
            squares += self._pairs(early, early, before, before)
            squares += self._pairs(late, late, after, after)
        return squares.clamp_(min=0).sqrt_()

    def _pairs(self, back: Tensor, others: Tensor, inputs: Tensor, beside: Tensor) -> Tensor:
        """The sum over all pairs of some positions with others, (n,)."""
        pairs = torch.bmm(back, others.transpose(1, 2))
        if self.weight is not None:
            into = torch.bmm(inputs, beside.transpose(1, 2))
            pairs = pairs.mul_(into if self.bias is None else into.add_(1))
        return pairs.sum(dim=(1, 2))

    def only(self, rows: Tensor) -> "Products":
        """The examples at some positions."""
        return replace(self, back=self.back[rows], inputs=self.inputs[rows])

    def add_to(self, sums: Sums, weights: Tensor) -> None:
        """Adds the sum of w_i times the gradient of example i."""
        back, inputs, weights = self.back, self.inputs, _like(weights, self.back)
        if back.ndim > 2:
            weights = sums.spread(weights, back.shape[1])
            back, inputs = back.flatten(end_dim=1), inputs.flatten(end_dim=1)
        if self.bias is not None:
            sums.add_rows(self.bias, weights, back)
        if self.weight is not None:
            # Either factor may be scaled: the narrower one takes less memory.
            if back.shape[1] <= inputs.shape[1]:
                back = back * weights[:, None]
            else:
                inputs = inputs * weights[:, None]
            sums.add_product(self.weight, *((inputs, back) if self.inputs_first else (back, inputs)))


@final
@dataclass(slots=True, eq=False)
class Rows(Share):
    """The gradients of an embedding's weight (v, d): zero but in the rows that an example names.

    Attributes:
        parameter: (v, d).
        owners: (m,), the example of each pair of an example and a row that it names.
        names: (m,), that row.
        values: (m, d), its gradient; pairs that stand there twice have it once, and zeros.
        count: n.
    """

    parameter: Parameter
    owners: Tensor
    names: Tensor
    values: Tensor
    count: int

    @classmethod
    def of(cls, parameter: Parameter, names: Tensor, values: Tensor) -> "Rows":
        """From the rows named at each position (n, t) and the gradients of what came out there (n, t, d)."""
        count, length = names.shape
        owners = torch.arange(count, device=names.device)[:, None].expand(count, length).flatten()
        names, values = names.flatten(), values.flatten(end_dim=1)
        pairs, order = torch.sort(owners * len(parameter) + names)
        again = pairs[1:] == pairs[:-1]
        # Where each run of equal pairs begins; what else stands in it is added there, and only that is moved.
        places = torch.arange(len(pairs), device=names.device)
        places[1:].masked_fill_(again, 0)
        begins, others = order[places.cummax(dim=0).values[1:][again]], order[1:][again]
        summed = values.clone().index_add_(0, begins, values[others]).index_fill_(0, others, 0)
        return cls(parameter, owners, names, summed, count)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The weight."""
        return (self.parameter,)

    def norms(self) -> Tensor:
        """Per example, (n,)."""
        squares = torch.zeros(self.count, dtype=self.values.dtype, device=self.values.device)
        return squares.index_add_(0, self.owners, _norms(self.values).square_()).sqrt_()

    def only(self, rows: Tensor) -> "Rows":
        """The examples at some positions; they keep their numbers' order."""
        place = torch.full((self.count,), -1, device=rows.device)
        place[rows] = torch.arange(len(rows), device=rows.device)
        owners = place[self.owners]
        kept = owners >= 0
        return Rows(self.parameter, owners[kept], self.names[kept], self.values[kept], len(rows))

    def add_to(self, sums: Sums, weights: Tensor) -> None:
        """Adds the sum of w_i times the gradient of example i."""
        view = sums.view(self.parameter)
        scaled = self.values * _like(weights, self.values)[self.owners, None]
        view.index_add_(0, self.names, _like(scaled, view))


def _rows(samples: Tensor) -> Tensor:
    """The numbers of each example in a row, also those of a weight of a single number."""
    if samples.ndim == 2:
        return samples
    return samples.flatten(start_dim=1) if samples.ndim > 2 else samples[:, None]


def _norms(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1)


def _like(values: Tensor, other: Tensor) -> Tensor:
    return values if values.dtype == other.dtype else values.to(other.dtype)
