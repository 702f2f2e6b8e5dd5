import captum.metrics
import numpy as np
import pytest
import torch
from torch import Tensor

from questions import linear, question
from steelyard_interpretability._deletion import area
from steelyard_interpretability.measures.curves import SHARES, areas, deletion, erasure, insertion, order_of
from steelyard_interpretability.measures.fidelity import infidelity, subsets
from steelyard_interpretability.measures.grid import axes, sides, similarity, smooth
from steelyard_interpretability.measures.lines import blocks, blurred_noise, edges, searched
from steelyard_interpretability.measures.sensitivity import max_sensitivity
from steelyard_interpretability.measures.shape import gini, mass, pointing, top_overlap
from steelyard_interpretability.methods.question import Question, masked, per_unit

WEIGHTS = torch.tensor([4.0, -1.0, 2.0, 0.5, 0.0])
INPUTS = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0], [0.5, 2.0, -1.0, 3.0, 1.0]])
ASKED = question(linear(WEIGHTS), INPUTS)
RIGHT = INPUTS * WEIGHTS
"""What each element of a linear model contributes."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_masking_is_what_a_loop_does() -> None:
    keep = noise(2, 300, 5) > 0

    found = masked(ASKED.score, ASKED, keep)

    for row in range(2):
        for variant in range(300):
            x = INPUTS[row] * keep[row, variant]
            assert found[row, variant] == pytest.approx(float((x * WEIGHTS).sum()), abs=1e-6)


def test_units_gather_their_elements() -> None:
    units = torch.tensor([0, 0, 1, 1, 2])
    asked = question(linear(WEIGHTS), INPUTS, units=units, present=torch.tensor([[True, True, False], [True] * 3]))

    assert per_unit(RIGHT, asked).tolist() == [[3.0, 2.5, 0.0], [0.0, -0.5, 0.0]]


def test_deletion_and_insertion_of_a_linear_model_are_partial_sums() -> None:
    ranks = order_of(RIGHT, ASKED)
    counts = range(6)

    gone, come = deletion(ASKED, ranks, counts=counts), insertion(ASKED, ranks, counts=counts)

    sorted_ = RIGHT.sort(dim=1, descending=True).values
    sums = torch.cat([torch.zeros(2, 1), sorted_.cumsum(dim=1)], dim=1)
    torch.testing.assert_close(come, sums)
    torch.testing.assert_close(gone, sums[:, -1:] - sums)
    first, second = areas(ASKED, ranks, counts=[*counts])
    torch.testing.assert_close(first, area(gone, counts=[*counts]))
    torch.testing.assert_close(second, area(come, counts=[*counts]))


def test_no_order_beats_the_right_one_on_a_linear_model() -> None:
    right = areas(ASKED, order_of(RIGHT, ASKED), counts=[*range(6)])

    for seed in range(20):
        other = areas(ASKED, order_of(noise(2, 5, seed=seed), ASKED), counts=[*range(6)])
        assert bool((right[0] <= other[0] + 1e-6).all())
        assert bool((right[1] >= other[1] - 1e-6).all())


def test_what_is_padding_never_leaves() -> None:
    present = torch.tensor([[True, True, True, False, False], [True] * 5])
    asked = question(linear(WEIGHTS), INPUTS, present=present)
    ranks = order_of(RIGHT, asked)

    assert deletion(asked, ranks, counts=[5])[0] == pytest.approx(0.5)
    assert insertion(asked, ranks, counts=[0])[0] == pytest.approx(0.5)


def test_erasure_is_what_a_loop_does() -> None:
    asked = question(linear(noise(40)), noise(3, 40, seed=1), probability=lambda x: linear(noise(40))(x).sigmoid())
    units = noise(3, 40, seed=2)

    complete, sufficient = erasure(asked, units)

    for row in range(3):
        whole = asked.probability(asked.inputs[row : row + 1], torch.tensor([row]))
        lost = [0.0, 0.0]
        for share in SHARES:
            top = units[row].topk(int(np.ceil(share * 40))).indices
            without, alone = asked.inputs[row].clone(), torch.zeros(40)
            without[top], alone[top] = 0.0, asked.inputs[row][top]
            for place, x in enumerate((without, alone)):
                lost[place] += float(whole - asked.probability(x[None], torch.tensor([row]))) / len(SHARES)
        assert complete[row] == pytest.approx(lost[0], abs=1e-6)
        assert sufficient[row] == pytest.approx(lost[1], abs=1e-6)


def test_the_contributions_of_a_linear_model_foretell_every_loss() -> None:
    gone = subsets(ASKED, draws=40)

    assert infidelity(ASKED, RIGHT, gone=gone).max() < 1e-10
    assert infidelity(ASKED, 7 * RIGHT, gone=gone).max() < 1e-10
    torch.testing.assert_close(infidelity(ASKED, torch.zeros(2, 5), gone=gone), torch.ones(2, dtype=torch.float64))
    assert infidelity(ASKED, noise(2, 5), gone=gone).min() > 0.05


def test_infidelity_is_captums_on_the_same_draws() -> None:
    def score(x: Tensor) -> Tensor:
        return (x**2).sum(dim=1) + x[:, 0] * x[:, 1]

    asked, units = question(score, INPUTS), noise(2, 5)
    gone = subsets(asked, draws=30)
    draws = iter(range(30))

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        lost = gone[:, next(draws)] * x
        # Captum multiplies by the perturbation; contributions hold that factor already.
        return (lost != 0).to(x.dtype), x - lost

    theirs = captum.metrics.infidelity(
        score, perturb, INPUTS, units, n_perturb_samples=30, max_examples_per_batch=2, normalize=True
    )
    lost = (score(INPUTS)[:, None] - masked(asked.score, asked, ~gone)).double()
    torch.testing.assert_close(
        infidelity(asked, units, gone=gone) * (lost**2).mean(dim=1), theirs.double(), atol=1e-5, rtol=1e-5
    )


def test_max_sensitivity_of_a_quadratic_is_the_relative_step() -> None:
    def explain(asked: Question) -> Tensor:
        return 2 * asked.inputs

    found = max_sensitivity(explain, ASKED, radius=0.1, draws=200)

    bound = 0.1 * 5**0.5 / INPUTS.double().norm(dim=1)
    assert bool((found <= bound + 1e-6).all())
    assert bool((found > 0.6 * bound).all())
    assert max_sensitivity(lambda asked: torch.ones_like(asked.inputs), ASKED, radius=0.1, draws=2).tolist() == [0, 0]


def test_ginis_index_in_closed_form() -> None:
    all_there = torch.ones(3, 4, dtype=torch.bool)
    found = gini(torch.tensor([[1.0, -1, 1, -1], [0, 0, 5, 0], [1, 2, 3, 4]]), present=all_there)

    assert found.tolist() == pytest.approx([0.0, 0.75, 0.25])
    assert gini(torch.zeros(1, 4), present=all_there[:1]).isnan().all()
    padded = gini(torch.tensor([[3.0, 0, 9, 9]]), present=torch.tensor([[True, True, False, False]]))
    assert float(padded[0]) == pytest.approx(0.5)


def test_where_the_truth_is_known() -> None:
    units, truth = torch.tensor([[3.0, 1, -5, 0], [1, 2, 1, 0]]), torch.tensor([[True, False, True, False]] * 2)
    present = torch.ones(2, 4, dtype=torch.bool)

    assert pointing(units, truth, present=present).tolist() == [True, False]
    assert mass(units, truth).tolist() == pytest.approx([0.75, 0.5])
    assert top_overlap(units, units.flip(1), present=present, share=0.5).tolist() == pytest.approx([0.0, 1 / 3])
    assert top_overlap(units, units, present=present).tolist() == [1.0, 1.0]


def test_a_picture_is_a_grid_and_its_channels_are_no_axis() -> None:
    pixels = torch.arange(12).view(3, 4).expand(2, 3, 4)

    assert axes(pixels) == (1, 2)
    assert sides(pixels) == (3, 4)
    assert sides(torch.tensor([0, 0, 1, 1, 2])) == (3,)
    assert sides(torch.tensor([[0, 0, 1], [0, 2, 3]])) == (4,)


def test_smoothing_is_a_mean_of_neighbours() -> None:
    values = torch.tensor([[0.0, 3, 6, 0]])

    assert smooth(values, shape=(4,), reach=1).tolist() == [[1.0, 3.0, 3.0, 2.0]]
    flat = torch.ones(2, 12)
    torch.testing.assert_close(smooth(flat, shape=(3, 4)), flat)


def test_structural_similarity_knows_the_same_map() -> None:
    one, other = noise(4, 100), noise(4, 100, seed=1)

    torch.testing.assert_close(similarity(one, 3 * one, shape=(10, 10)), torch.ones(4, dtype=torch.float64))
    assert similarity(one, other, shape=(10, 10)).abs().max() < 0.4
    torch.testing.assert_close(similarity(one, -one, shape=(10, 10)), torch.ones(4, dtype=torch.float64))
    assert similarity(one, torch.zeros(4, 100), shape=(10, 10)).max() < 0.1


def test_the_edge_detector_finds_the_edge() -> None:
    picture = torch.zeros(1, 1, 6, 6)
    picture[:, :, :, 3:] = 1
    asked = question(linear(torch.ones(1, 6, 6)), picture, units=torch.arange(36).view(1, 6, 6))

    found = edges(asked).view(6, 6)

    assert bool((found[:, 2:4] == 1).all())
    assert found.sum() == 12


def test_blurred_noise_is_smooth_and_each_examples_own() -> None:
    asked = question(linear(torch.ones(1, 32, 32)), noise(2, 1, 32, 32), units=torch.arange(1024).view(1, 32, 32))
    drawn = blurred_noise(asked)
    grid = drawn.view(2, 32, 32)
    step = grid.diff(dim=2).std() / grid.std()

    assert step < 0.8
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(blurred_noise(asked), drawn)


def test_the_search_asks_the_model_block_by_block() -> None:
    torch.testing.assert_close(searched(ASKED), RIGHT)
    large = question(linear(torch.ones(1, 28, 28)), noise(1, 1, 28, 28), units=torch.arange(784).view(1, 28, 28))
    of = blocks(large)
    assert len(of.unique()) <= 64
    assert of.view(28, 28)[0, 0] == of.view(28, 28)[3, 3] != of.view(28, 28)[3, 4]
    first = large.inputs[0, 0, :4, :4].sum()
    assert searched(large)[0, 0] == pytest.approx(float(first), abs=1e-4)
