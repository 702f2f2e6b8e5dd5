"""Lion."""

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@final
class Lion(Optimizer):
    """Steps of one size in the direction of the sign of a moving average (Chen et al. 2023, algorithm 2).

    Rates are 3 to 10 times smaller than Adam's, and the decay as much larger.

    Args:
        params: The weights.
        lr: Step size.
        betas: Weight of the past in the step, and in the moving average.
        weight_decay: Decoupled, multiplied by `lr`.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr={lr:g} betas={tuple(betas)} weight_decay={weight_decay:g} are out of range")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; gives back what the closure gave."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        assert weight.grad is not None
        now, later = group["betas"]
        state = self.state[weight]
        if not state:
            state["average"] = torch.zeros_like(weight)
        average: Tensor = state["average"]
        direction = torch.lerp(weight.grad, average, now).sign_()
        weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
        average.lerp_(weight.grad, 1 - later)
