"""Certificates: sound on the closed form of a linear model, however often one looks."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from helpers.victims import fitted, held, linear
from small_runs import IMAGES, TABLE, Points, bits, digits_task, flags, frozen, same_bits, streams, table_task
from steelyard.adapters import TokenScoring
from steelyard.measurement import Measurement, Status
from steelyard.measuring import looking
from steelyard.runs import Run
from steelyard_stability import Certified
from steelyard_stability._certified import CertifiedAttachment, decisions
from steelyard_stability._smoothing import certified, certify, lower_bound, radius, upper_bound

QUICK = Certified(examples=12, looks=(100, 400), max_seconds=None)


def told(run: Run, plugin: Certified = QUICK) -> list[Measurement]:
    with looking(run.task):
        return [row for row in CertifiedAttachment(plugin).measure(run) if isinstance(row, Measurement)]


def at(rows: list[Measurement], name: str) -> dict[float, float]:
    return {float(row.at["radius"]): row.value or 0.0 for row in rows if row.name == name}


@pytest.mark.parametrize("looks", [(100,), (1000,), (10000,), (100, 1000, 10000)])
def test_certificates_of_a_linear_model_are_sound_at_their_level(looks: tuple[int, ...]) -> None:
    # A margin of t standard deviations is the probability Phi(t), and the true radius is t sigma.
    alpha, points = 0.001, 100_000
    generator = np.random.default_rng(len(looks) + looks[-1])
    margins = generator.uniform(0.0, 3.0, points)
    chances, draws = stats.norm.cdf(margins), np.diff([0, *looks])
    hits = np.stack([generator.binomial(more, chances) for more in draws], axis=1).cumsum(axis=1)

    given = radius(certified(hits, looks, alpha=alpha, planned=len(looks)), sigma=0.5)

    unsound = (given > 0.5 * margins).mean()
    assert unsound <= alpha + 3 * np.sqrt(alpha / points)
    # Sound is also who certifies nothing; this does certify.
    assert (given > 0.25 * margins).mean() > 0.5


def test_the_bounds_are_the_textbooks() -> None:
    for hits, draws in ((0, 10), (7, 10), (10, 10), (960, 1000)):
        low, high = float(lower_bound(hits, draws, alpha=0.01)), float(upper_bound(hits, draws, alpha=0.01))
        # The probability of so many hits or more is alpha at the lower end, of so many or fewer at the upper.
        assert low == 0 if hits == 0 else stats.binom.sf(hits - 1, draws, low) == pytest.approx(0.01, rel=1e-6)
        assert high == 1 if hits == draws else stats.binom.cdf(hits, draws, high) == pytest.approx(0.01, rel=1e-6)
    assert radius([0.2, 0.5, 0.975], sigma=2.0).tolist() == pytest.approx([0, 0, 2 * 1.959964], rel=1e-5)


@pytest.mark.parametrize(("chance", "most"), [(1.0, 100), (0.9, 1000), (0.3, 100), (0.69, 10000)])
def test_looking_ends_as_soon_as_every_radius_is_decided(chance: float, most: int) -> None:
    generator = np.random.default_rng(0)
    found = certify(
        lambda more: int(generator.binomial(more, chance)),
        looks=(100, 1000, 10000),
        radii=(0.25, 0.5),
        sigma=0.5,
        alpha=0.001,
    )

    assert found.draws == most
    assert (found.radius > 0) == (chance > 0.5)


def test_no_certificate_reaches_beyond_the_plane_of_a_linear_model() -> None:
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(3, 2).requires_grad_(False)
    model.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 2.0]]))
    model.bias.copy_(torch.tensor([0.0, 0.3]))
    far = (inputs @ model.weight[1] + 0.3).abs() / 3
    run = frozen(table_task(model), Points(inputs, (inputs[:, 0] > 0).long()), adapter=TABLE)
    plugin = replace(QUICK, examples=40, sigma=0.5, radii=(0.1, 0.3, 0.6), looks=(100, 1000))

    rows = told(run, plugin)

    for reach, share in at(rows, "certified").items():
        # Of those that lie farther off than half as much again, most are certified.
        assert float((far >= 1.8 * reach).double().mean()) <= share <= float((far >= reach).double().mean())
        assert at(rows, "certified_accuracy")[reach] <= share
    for row in rows:
        assert row.split == "test"
        assert row.count == 40
        assert row.meaning
        assert row.at_unit == ("column value" if row.at else "")
    assert "with probability 0.001 at most" in rows[0].note


def test_the_batch_of_the_model_changes_no_draw() -> None:
    run = frozen(digits_task(fitted(linear)), Points(*held(20)))

    assert [row.value for row in told(run, replace(QUICK, batch=7))] == [row.value for row in told(run)]


@pytest.mark.parametrize("shape", [(3, 7, 5), (4, 40, 40)])
def test_every_copy_has_noise_of_its_own_whatever_the_batch(shape: tuple[int, ...]) -> None:
    clean = torch.rand(shape, generator=torch.Generator().manual_seed(1))

    def drawn(batch: int) -> Tensor:
        seen: list[Tensor] = []

        def ask(inputs: Tensor) -> Tensor:
            assert len(inputs) <= batch
            seen.append(inputs.clone())
            return inputs.flatten(start_dim=1)

        stream = torch.Generator().manual_seed(0)
        said = decisions(ask, clean, count=250, sigma=0.5, generator=stream, batch=batch)
        copies = torch.cat(seen)
        assert torch.equal(said, copies.flatten(start_dim=1).argmax(dim=1))
        return copies

    copies = drawn(64)
    noise = ((copies - clean) / 0.5).flatten(start_dim=1).double()
    values = noise.numel()

    assert torch.equal(drawn(7), copies)
    assert len(copies) == 250
    # No two copies have anything in common: their products have the mean of 0 that independent ones have.
    products = (noise @ noise.T) / noise.shape[1]
    assert float((products - products.diag().diag()).abs().max()) < 6 / noise.shape[1] ** 0.5
    assert abs(float(noise.mean())) < 4 / values**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / values) ** 0.5


def test_certifying_leaves_no_trace() -> None:
    run = frozen(digits_task(fitted(linear)), Points(*held(20)))
    before, state, random_streams = bits(run.task), flags(run.task), streams()

    told(run, replace(QUICK, examples=3))

    assert same_bits(bits(run.task), before)
    assert flags(run.task) == state
    assert streams() == random_streams


def test_time_that_is_up_leaves_fewer_examples_and_says_so() -> None:
    rows = told(frozen(digits_task(fitted(linear)), Points(*held(20)), deadline=time.monotonic()))

    assert {row.count for row in rows} == {1}
    assert "time was up after 1 of 12 examples" in rows[0].note


def test_what_cannot_be_smoothed_is_skipped() -> None:
    class Counts(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given.float()

    whole = frozen(table_task(Counts()), Points(torch.randint(0, 9, (9, 2)), torch.zeros(9).long()), adapter=TABLE)
    words = frozen(digits_task(), Points(*held(9)), adapter=replace(IMAGES, scoring=TokenScoring()))
    for run, reason in ((whole, "whole numbers"), (words, "counts classes")):
        rows = told(run)
        assert {row.status for row in rows} == {Status.SKIPPED}
        assert reason in rows[0].note


def test_looks_and_radii_that_do_not_rise_are_a_problem() -> None:
    (one,) = replace(QUICK, looks=(100, 50)).preflight(None)  # type: ignore[arg-type]  # the draft is not read
    (other,) = replace(QUICK, radii=()).preflight(None)  # type: ignore[arg-type]
    assert one.fix == "stability.certified.looks=[100,1000,10000]"
    assert other.fix == "stability.certified.radii=[0.1,0.25,0.5]"
