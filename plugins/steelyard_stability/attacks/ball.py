"""How far an attack may go: a ball round each example, cut at the raw range."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

ROUNDING = 1e-6
"""Part of an L2 radius that is kept back for the rounding of 32-bit floats."""


class Norm(StrEnum):
    """How a change is measured."""

    LINF = "linf"
    """The largest change of any value."""
    L2 = "l2"
    """The length of the change as a vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """The threat model: what an attack may do to an example.

    Attributes:
        norm: See `Norm`.
        radius: In raw units of the inputs, at least 0.
        bounds: The raw range, which an attack does not leave either; None where there is none.
    """

    norm: Norm
    radius: float
    bounds: tuple[float, float] | None = None

    def around(self, centre: Tensor) -> "Region":
        """The ball round each of (B, ...) examples, which lie in the raw range."""
        low, high = (-torch.inf, torch.inf) if self.bounds is None else self.bounds
        if self.norm is Norm.LINF:
            below, above = _within(centre, -self.radius), _within(centre, self.radius)
            return Region(ball=self, centre=centre, low=below.clamp(min=low), high=above.clamp(max=high))
        # The sum centre + change is rounded in each value by half a unit in the last place.
        lost = torch.finfo(centre.dtype).eps / 2 * (norms(centre) + self.radius)
        reach = (self.radius * (1 - ROUNDING) - lost).clamp(min=0)
        edges = torch.tensor([low, high], dtype=centre.dtype, device=centre.device)
        return Region(ball=self, centre=centre, low=edges[0], high=edges[1], reach=reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A ball round each example.

    Attributes:
        ball: The threat model.
        centre: The clean examples (B, ...).
        low: The smallest values allowed, (B, ...) or one for all.
        high: The largest ones.
        reach: The L2 radius of each example less what rounding may add, (B, 1, ...); None for Linf.
    """

    ball: Ball
    centre: Tensor
    low: Tensor
    high: Tensor
    reach: Tensor | None = None

    def project(self, inputs: Tensor) -> Tensor:
        """The inputs (B, ...) pulled back into the ball and the raw range; exact, never outside by a bit."""
        if self.reach is None:
            return inputs.clamp(self.low, self.high)
        change = inputs - self.centre
        length = norms(change)
        factor = torch.where(length > self.reach, self.reach / length, torch.ones_like(length))
        # The centre is in the raw range, so that clamping only brings an input nearer to it.
        return (self.centre + change * factor).clamp(self.low, self.high)

    def step(self, inputs: Tensor, gradient: Tensor, *, length: float) -> Tensor:
        """One step from the inputs (B, ...) along the steepest direction of the gradient, and back into the ball."""
        direction = steepest(gradient, self.ball.norm)
        if self.reach is None:
            # A sign times a length is exact, so that one operation gives the bits of two.
            return torch.add(inputs, direction, alpha=length).clamp_(self.low, self.high)
        return self.project(inputs + length * direction)

    def walk(self, inputs: Tensor, gradient: Tensor, *, length: float) -> None:
        """The same step where the inputs lie; the gradient is used up, which spares memory that is not near yet."""
        if self.reach is None:
            inputs.add_(gradient.sign_(), alpha=length).clamp_(self.low, self.high)
        else:
            inputs.copy_(self.step(inputs, gradient, length=length))

    def take(self, rows: Tensor | slice) -> "Region":
        """The regions of some examples."""
        return Region(
            ball=self.ball,
            centre=self.centre[rows],
            low=self.low[rows] if self.reach is None else self.low,
            high=self.high[rows] if self.reach is None else self.high,
            reach=None if self.reach is None else self.reach[rows],
        )


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of length 1 in which a linear loss with this gradient (B, ...) rises fastest; 0 where it is 0."""
    if norm is Norm.LINF:
        return gradient.sign()
    # Scaled first, so that the square of a tiny gradient does not vanish.
    largest = gradient.abs().flatten(start_dim=1).amax(dim=1).reshape(-1, *[1] * (gradient.dim() - 1))
    scaled = gradient / torch.where(largest > 0, largest, torch.ones_like(largest))
    length = norms(scaled)
    return scaled / torch.where(length > 0, length, torch.ones_like(length))


def norms(inputs: Tensor) -> Tensor:
    """The length of each example as a vector: (B, 1, ...)."""
    return inputs.flatten(start_dim=1).square().sum(dim=1).sqrt().reshape(-1, *[1] * (inputs.dim() - 1))


def distance(inputs: Tensor, centre: Tensor, norm: Norm) -> Tensor:
    """How far each input (B, ...) lies from its clean one: (B,), doubles."""
    change = (inputs.double() - centre.double()).flatten(start_dim=1)
    return change.abs().amax(dim=1) if norm is Norm.LINF else change.square().sum(dim=1).sqrt()


def _within(centre: Tensor, step: float) -> Tensor:
    """`centre + step`, one float nearer where rounding went too far."""
    # Added in doubles: a single would round the step first, by more than a unit in the last place of a small sum.
    edge = (centre.double() + step).to(centre)
    too_far = (edge.double() - centre.double()).abs() > abs(step)
    return torch.where(too_far, torch.nextafter(edge, centre), edge)
