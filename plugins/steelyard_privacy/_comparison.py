# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The sum of the per-example gradients against the ordinary one: they differ where a use of a weight is overlooked."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import Parameter

from steelyard_privacy._shares import Share
from steelyard_privacy._sums import Layout, Sums


class NotCovered(RuntimeError):
    """The per-example gradients do not add up to the gradient: the engine overlooks a use of some weight."""


@final
class Comparison:
    """Compares weight by weight, as early as both sides are known: all together would take the memory of the weights.

    Args:
        parameters: The weights.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = parameters
        self._shares: dict[Parameter, tuple[Share, Tensor]] = {}
        self._shown: dict[Parameter, Tensor] = {}
        self._found: dict[Parameter, tuple[Tensor, Tensor]] = {}

    def know(self, share: Share, norms: Tensor) -> None:
        """Notes the per-example gradients of some weights, to which nothing else will be added, and their norms."""
        self._shares.update(dict.fromkeys(share.parameters, (share, norms)))

    def listeners(self) -> list[Any]:
        """Hooks by which a backward pass shows the ordinary gradients; to be removed after it."""
        return [parameter.register_hook(self._listener(parameter)) for parameter in self._parameters]

    def close(self, gradients: list[Tensor | None], norms: Tensor, *, tolerance: float) -> None:
        """Compares what is left, and judges.

        Args:
            gradients: The ordinary gradients of the sum of the losses, one for each weight; None for one without
                influence. Those that were shown before do not count any more. The list is emptied.
            norms: Of all gradients, (n,); where one is not finite, nothing can be said.
            tolerance: How far they may lie apart, relatively.

        Raises:
            NotCovered: If they differ.
        """
        if not bool(torch.isfinite(norms).all()):
            return
        for place, parameter in enumerate(self._parameters):
            true, gradients[place] = gradients[place], None
            if parameter in self._found or parameter in self._shown:
                continue
            if parameter in self._shares:
                self._show(parameter, torch.zeros_like(parameter) if true is None else true)
            elif true is not None:
                self._found[parameter] = true.norm(), true.norm()
        self._shares.clear()
        rounding = 1e-5 * norms.sum()
        for parameter, (distance, length) in self._found.items():
            if not bool(distance <= tolerance * length + rounding):
                raise NotCovered(f"a weight of shape {tuple(parameter.shape)} is used outside its layer's own forward")

    def _listener(self, parameter: Parameter) -> Callable[[Tensor], Tensor | None]:
        def listen(gradient: Tensor) -> Tensor | None:
            if parameter not in self._shares:
                return None
            self._show(parameter, gradient)
            # Of no size: autograd would keep all gradients until its end.
            return gradient.new_zeros(()).expand_as(gradient)

        return listen

    def _show(self, parameter: Parameter, true: Tensor) -> None:
        """Once a share's last weight is shown, it is subtracted from what was shown."""
        share, norms = self._shares[parameter]
        self._shown[parameter] = true
        if not all(one in self._shown for one in share.parameters):
            return
        layout = Layout(share.parameters)
        # In vectors, other gradients may have their memory.
        views = {
            one: shown.to(layout.dtype, copy=shown.ndim < 2).contiguous()
            for one, shown in ((one, self._shown.pop(one)) for one in share.parameters)
        }
        lengths = {one: view.norm() for one, view in views.items()}
        sums = Sums(layout, views)
        share.add_to(sums, -torch.ones_like(norms))
        sums.finish()
        for one, view in views.items():
            self._found[one] = view.norm(), lengths[one]
