"""The arithmetic of one private step (Abadi et al. 2016, algorithm 1): clip each example, add up, add noise."""

from torch import Tensor

from steelyard_privacy._randomness import Normals


def coefficients(norms: Tensor, *, max_norm: float) -> Tensor:
    """What each example's gradient is multiplied by: min(1, C / norm); 0 where the norm is not finite.

    An example whose gradient is infinite or NaN is left out: that bounds its influence by C like everybody's.
    """
    # C over an infinite norm is 0.
    weights = norms.clamp(min=max_norm).reciprocal_()
    if max_norm != 1:
        weights.mul_(max_norm)
    return weights.nan_to_num_(nan=0.0)


def privatised(
    total: Tensor,
    *,
    max_norm: float,
    noise_multiplier: float,
    batch_size: float,
    normals: Normals,
) -> Tensor:
    """The gradient that is released, in place: (sum of clipped gradients + N(0, (sigma C)^2)) / expected batch size.

    The divisor is the expected size B, not the drawn one, which would tell how many were drawn.
    """
    normals.blur(total, factor=1 / batch_size, scale=noise_multiplier * max_norm / batch_size)
    return total
