# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""How long a gradient is and how large buffers are, in as little time as a guard of every step may take."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steelyard_stability._snapshots import flat

HALVES = (torch.float16, torch.bfloat16)
SMALL = 4096
"""Numbers of a gradient up to which it is copied together with others."""


class Gradient:
    """The gradient of some weights as one vector, whose norm is asked for again and again.

    Args:
        weights: Those of one optimizer.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = weights
        kinds = {(weight.dtype, weight.device) for weight in weights}
        # Many tensors at a time pay where each of them has to be started; a processor is quicker at one by one.
        self._plain = len(kinds) == 1 and all(kind not in HALVES and on.type == "cpu" for kind, on in kinds)
        self._small = [at for at, weight in enumerate(weights) if weight.numel() <= SMALL]
        self._large = [at for at, weight in enumerate(weights) if weight.numel() > SMALL]

    @torch.no_grad()
    def norm(self) -> Tensor:
        """See `norm_of`."""
        found = [weight.grad for weight in self.weights]
        given = [gradient for gradient in found if gradient is not None]
        if not self._plain or len(given) < len(found) or any(map(_sparse, given)):
            return norm_of(given)
        parts = [torch.linalg.vector_norm(given[at]) for at in self._large]
        if self._small:
            parts.append(torch.linalg.vector_norm(torch.cat(flat([given[at] for at in self._small]))))
        return torch.linalg.vector_norm(torch.stack(parts)) if parts else torch.zeros(())


def dense(gradient: Tensor) -> Tensor:
    """The numbers of a gradient that may be sparse."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


@torch.no_grad()
def norm_of(gradients: Sequence[Tensor]) -> Tensor:
    """The 2-norm of all of them together, on their device; 0 of none."""
    # Sums of squares in 16 bits would be infinite at norms that do no harm.
    if any(one.is_sparse or one.dtype in HALVES for one in gradients):
        gradients = [dense(one.detach()).float() for one in gradients]
    small = [one for one in gradients if one.numel() <= SMALL]
    if len(small) > 1 and all(one.dtype == small[0].dtype and one.device == small[0].device for one in small):
        # One copy of many small ones is quicker than a sum for each of them.
        gradients = [*(one for one in gradients if one.numel() > SMALL), torch.cat(flat(small))]
    return nn.utils.get_total_norm(gradients)


@torch.no_grad()
def largest_of(tensors: Sequence[Tensor]) -> Tensor:
    """The largest absolute value of all, or what is not finite among them; 0 of none. All on one device."""
    return torch.cat(flat(tensors)).abs_().max() if tensors else torch.zeros(())


def _sparse(gradient: Tensor) -> bool:
    return gradient.is_sparse
