"""The ball that an attack stays in."""

import pytest
import torch

from steelyard_stability.attacks import Ball, Norm, distance


def test_the_edge_of_a_ball_is_inside_it_to_the_bit_also_where_it_comes_near_0() -> None:
    generator = torch.Generator().manual_seed(0)
    for radius in (0.3, 0.1, 8 / 255):
        # So close to the radius that a unit in the last place of the sum is smaller than the radius' own rounding.
        centre = radius * (1 + 0.05 * torch.randn(500, 20, generator=generator))
        region = Ball(norm=Norm.LINF, radius=radius).around(centre)
        for far in (-1.0, 1.0):
            edge = region.project(centre + far)
            assert float(distance(edge, centre, Norm.LINF).max()) <= radius
            assert float(distance(edge, centre, Norm.LINF).min()) > radius * (1 - 1e-6)


@pytest.mark.parametrize("norm", Norm)
def test_a_step_in_place_is_a_step_to_the_bit(norm: Norm) -> None:
    stream = torch.Generator().manual_seed(0)
    centre, gradient = torch.rand(30, 7, generator=stream), torch.randn(30, 7, generator=stream)
    region = Ball(norm=norm, radius=0.1, bounds=(0.0, 1.0)).around(centre)
    inputs = region.project(centre + 0.1 * torch.randn(30, 7, generator=stream))
    ahead = region.step(inputs, gradient, length=0.03)

    region.walk(inputs, gradient, length=0.03)

    assert torch.equal(inputs, ahead)
