"""Sharpness-aware minimisation."""

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steelyard._untyped import fork_torch
from steelyard.problem import refuse


@final
class SAM(Optimizer):
    """Another optimizer, fed with the gradient at the worst point nearby (Foret et al. 2021): flat minima.

    Each step works on its batch twice, with the same dropout, so it costs twice the time, and what the task counts
    while it trains is counted at both points. It is an optimizer and no plugin, since it changes nothing but how
    one step is made, and every task can use it through `optimizer=sam`.

    Args:
        params: The weights.
        base: Makes the optimizer that takes the step, e.g. a partial made by `_partial_: true`.
        radius: How far the worst point is looked for, in the 2-norm of all weights together.
    """

    looks_twice = True
    """A method that accounts for every look at the data must refuse."""

    def __init__(
        self, params: Iterable[nn.Parameter], *, base: Callable[[list[nn.Parameter]], Optimizer], radius: float = 0.05
    ) -> None:
        if radius <= 0:
            raise refuse(f"optimizer.radius is {radius:g}, must be more than 0", fix="optimizer.radius=0.05")
        weights = [*params]
        self.base = base(weights)
        super().__init__(weights, dict(self.base.defaults))
        self.radius = radius
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the base optimizer; gives back what the closure gave at the weights as they were.

        Raises:
            Refused: If there is no closure to look twice with.
        """
        if closure is None:
            raise refuse(
                "SAM looks at each batch twice, which scaled gradients do not allow", fix="trainer.precision=bf16-mixed"
            )
        with torch.enable_grad(), fork_torch():
            loss = closure()
        here = self._climb()
        with torch.enable_grad():
            closure()
        for weight, value in here:
            weight.copy_(value)
        self.base.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Into the base optimizer, whose state is this one's."""
        self.base.load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        # Schedules change the groups and checkpoints hold the state: both must be those of the optimizer that steps.
        self.param_groups = self.base.param_groups
        self.state = self.base.state

    def _climb(self) -> list[tuple[Tensor, Tensor]]:
        weights = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        here = [(weight, weight.detach().clone()) for weight in weights]
        if weights:
            norm = torch.stack([weight.grad.square().sum() for weight in weights]).sum().sqrt()
            for weight in weights:
                # Where all gradients are zero there is nowhere to climb.
                weight.add_(weight.grad * (self.radius / (norm + 1e-12)))
        return here
