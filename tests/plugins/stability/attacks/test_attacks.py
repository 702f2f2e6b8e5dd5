import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from helpers.victims import cnn, fitted, held, linear, mlp, scene
from steelyard_stability.attacks import (
    Ball,
    ClassAim,
    Climb,
    Found,
    Loss,
    Norm,
    Plan,
    Scene,
    Steps,
    apgd,
    best_batch,
    cascade,
    curve,
    distance,
    fgsm,
    pgd,
    random_start,
    square,
)
from steelyard_stability.attacks import scene as scenes

NORMS = [(Norm.LINF, 0.1), (Norm.L2, 0.5)]
QUICK = Plan(steps=8, queries=30)
ATTACKS: dict[str, Callable[[Scene, Tensor], Found]] = {
    "fgsm": fgsm,
    "pgd": lambda here, rows: pgd(here, rows, here.centre[rows], steps=Steps(count=8)),
    "started": lambda here, rows: pgd(here, rows, random_start(here, rows, stream=0), steps=Steps(count=8)),
    "apgd": lambda here, rows: apgd(here, rows, here.centre[rows], count=20),
    "margin": lambda here, rows: apgd(here, rows, here.centre[rows], count=20, loss=Loss(climb=Climb.RATIO)),
    "target": lambda here, rows: apgd(here, rows, here.centre[rows], count=20, loss=Loss(climb=Climb.TARGET, rank=2)),
    "square": lambda here, rows: square(here, rows, count=60),
}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return fitted(mlp)


def every(here: Scene) -> Tensor:
    return torch.arange(len(here.centre))


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("norm", "radius"), NORMS)
def test_an_attack_stays_in_the_ball_and_the_range(name: str, norm: Norm, radius: float, model: nn.Module) -> None:
    inputs, _ = held(100)
    here = scene(model, inputs, radius=radius, norm=norm)

    found = ATTACKS[name](here, every(here))

    assert float(distance(found.inputs, inputs, norm).max()) <= radius
    assert float(found.inputs.min()) >= 0
    assert float(found.inputs.max()) <= 1
    changed = model(found.inputs).argmax(dim=1) != model(inputs).argmax(dim=1)
    assert torch.equal(found.fooled, changed)
    assert bool(changed.any())


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("norm", Norm)
def test_a_radius_of_zero_changes_no_bit(name: str, norm: Norm, model: nn.Module) -> None:
    inputs, _ = held(40)

    found = ATTACKS[name](scene(model, inputs, radius=0.0, norm=norm), torch.arange(40))

    assert torch.equal(found.inputs, inputs)
    assert not bool(found.fooled.any())


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("norm", "radius"), NORMS)
def test_the_company_of_an_example_changes_nothing(name: str, norm: Norm, radius: float, model: nn.Module) -> None:
    inputs, _ = held(60)
    model = model.double()
    whole = ATTACKS[name](scene(model, inputs.double(), radius=radius, norm=norm), torch.arange(60))

    few = [
        ATTACKS[name](
            scene(model, inputs[rows].double(), radius=radius, norm=norm, first=int(rows[0]), batch=3),
            torch.arange(len(rows)),
        )
        for rows in torch.arange(60).split(7)
    ]
    model.float()

    assert torch.equal(whole.fooled, torch.cat([part.fooled for part in few]))
    # Matrix products of other shapes add up in another order.
    assert torch.allclose(whole.inputs, torch.cat([part.inputs for part in few]), atol=1e-9)


def exact(model: nn.Sequential, inputs: Tensor, norm: Norm) -> Tensor:
    """The smallest radius that changes the decision of a linear model: its margins over the dual norm."""
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    logits = model(inputs).double()
    own = logits.argmax(dim=1)
    apart = layer.weight.double()[own][:, None] - layer.weight.double()[None]
    size = apart.abs().sum(dim=2) if norm is Norm.LINF else torch.linalg.vector_norm(apart, dim=2)
    margins = logits.gather(1, own[:, None]) - logits
    return torch.where(size > 0, margins / size, torch.inf).amin(dim=1)


@pytest.mark.parametrize(("norm", "radii"), [(Norm.LINF, [0.02, 0.05, 0.08]), (Norm.L2, [0.1, 0.3, 0.5])])
def test_the_robust_accuracy_of_a_linear_model_is_exact_to_the_sample(norm: Norm, radii: list[float]) -> None:
    model = fitted(linear)
    inputs, _ = held(200)
    assert isinstance(model, nn.Sequential)
    reach = exact(model, inputs, norm)
    # Without a raw range the closed form is exact.
    falls = curve(scene(model, inputs, radius=1.0, norm=norm, bounds=None), radii, Plan(steps=16, targets=9, queries=5))

    for radius, fall in zip(radii, falls, strict=True):
        near = (reach - radius).abs() < 2e-5 * radius
        assert torch.equal(fall.fooled[~near], (reach < radius)[~near])
        assert int(near.sum()) == 0
        assert 0 < int(fall.fooled.sum()) < 200


@pytest.mark.parametrize(("norm", "radius"), NORMS)
def test_more_steps_restarts_and_radius_never_fool_fewer(norm: Norm, radius: float, model: nn.Module) -> None:
    inputs, _ = held(150)
    here = scene(model, inputs, radius=radius, norm=norm)

    for plans in (
        [Plan(steps=count, queries=20) for count in (2, 5, 12)],
        [Plan(steps=4, restarts=count, queries=20) for count in (1, 2, 3)],
        [Plan(steps=4, queries=count) for count in (10, 40)],
        [Plan(steps=4, targets=count, queries=10) for count in (1, 9)],
    ):
        fallen = [cascade(here, plan).fooled for plan in plans]
        for fewer, more in itertools.pairwise(fallen):
            assert bool((more | ~fewer).all())

    falls = curve(here, [radius / 4, radius / 2, radius], QUICK)
    for smaller, larger in itertools.pairwise(falls):
        assert bool((larger.fooled | ~smaller.fooled).all())
        assert float(distance(smaller.inputs[smaller.fooled], inputs[smaller.fooled], norm).max()) <= radius / 2


@pytest.mark.parametrize(("norm", "radius"), NORMS)
def test_a_curve_finds_the_radius_that_whole_attacks_find_in_fewer_looks(
    norm: Norm, radius: float, model: nn.Module
) -> None:
    here = scene(model, held(30)[0], radius=radius, norm=norm)
    radii = [share * radius for share in (0.1, 0.25, 0.4, 0.7, 1.0)]

    falls = curve(here, radii, QUICK)
    alone = [cascade(replace(here, ball=replace(here.ball, radius=one)), QUICK) for one in radii]

    for fall, one, radius in zip(falls, alone, radii, strict=True):
        assert int((fall.fooled != one.fooled).sum()) <= 1
        assert float(distance(fall.inputs, here.centre, norm).max()) <= radius
        assert bool(fall.finished.all())
        assert bool(here.judge(fall.inputs, every(here))[0][fall.fooled].all())
    assert sum(sum(fall.by.values()) for fall in falls) == int(falls[-1].fooled.sum())
    assert sum(fall.looks for fall in falls) < 0.8 * sum(one.looks for one in alone)


def test_a_curve_whose_time_is_up_knows_what_it_does_not_know(model: nn.Module) -> None:
    here = scene(model, held(50)[0], radius=0.1, until=time.monotonic())

    for fall in curve(here, [0.02, 0.05, 0.1], QUICK):
        assert not bool(fall.finished[~fall.fooled].any())


def test_a_scout_that_alone_had_time_leaves_the_smaller_balls_as_they_are(model: nn.Module) -> None:
    here = scene(model, held(30)[0], radius=0.1, until=1.0)
    times = iter([0.0] * 20)
    radii = [0.002, 0.005, 0.02]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "time", SimpleNamespace(monotonic=lambda: next(times, 2.0)))
        falls = curve(here, radii, Plan(steps=20))

    assert not all(bool(fall.finished.all()) for fall in falls)
    for radius, fall in zip(radii, falls, strict=True):
        assert not bool(fall.finished[~fall.fooled].any())
        assert float(distance(fall.inputs, here.centre, Norm.LINF)[~fall.fooled].max()) <= radius


@pytest.mark.parametrize(("norm", "radius"), NORMS)
def test_leaving_early_only_adds_to_what_the_last_step_fools(norm: Norm, radius: float, model: nn.Module) -> None:
    here = scene(model, held(150)[0], radius=radius, norm=norm)
    rows = every(here)

    early, late = (pgd(here, rows, here.centre, steps=Steps(count=10, early=early)) for early in (True, False))

    assert bool((early.fooled | ~late.fooled).all())
    assert early.looks < late.looks == 11 * len(rows)


@pytest.mark.parametrize("count", [25, 26])
@pytest.mark.parametrize(("norm", "radius"), [(Norm.LINF, 0.03), (Norm.L2, 0.2)])
def test_going_in_a_circle_ends_where_all_steps_would(norm: Norm, radius: float, count: int, model: nn.Module) -> None:
    inputs, _ = held(100)
    model = model.double()
    here = scene(model, inputs.double(), radius=radius, norm=norm)

    early, late = (
        pgd(here, every(here), here.centre, steps=Steps(count=count, early=early)) for early in (True, False)
    )
    model.float()

    stands = ~early.fooled
    assert torch.equal(early.fooled, late.fooled)
    assert torch.allclose(early.inputs[stands], late.inputs[stands], atol=1e-9)
    # Without circles each that stands would have been looked at in each step.
    circles = early.looks < count * int(stands.sum())
    assert circles == (norm is Norm.LINF)
    assert bool(stands.any() & early.fooled.any())


def test_who_goes_in_a_circle_does_not_keep_the_others() -> None:
    """A ridge at 0.43 holds one example; the other climbs to 0.9, where the decision changes."""

    def answer(inputs: Tensor, rows: Tensor) -> Tensor:
        value = inputs[:, 0]
        hill = torch.where(rows == 0, 1 - (value - 0.43).abs(), value / 0.9 * 2)
        return torch.stack([torch.full_like(hill, 1.99), hill], dim=1)

    centre = torch.full((2, 1), 0.5)
    here = Scene(
        aim=ClassAim.of(lambda inputs, rows: answer(inputs, rows), answer(centre, torch.arange(2))),
        centre=centre,
        numbers=torch.arange(2),
        ball=Ball(norm=Norm.LINF, radius=0.45, bounds=(0.0, 1.0)),
    )

    found = pgd(here, torch.arange(2), centre, steps=Steps(count=40, step=0.1))

    assert found.fooled.tolist() == [False, True]
    # To and fro from the third look on; nine steps of 0.045 to 0.9, and the look that says so.
    assert found.looks == 3 + 10


def test_the_batch_and_the_model_stay_as_they_are(model: nn.Module) -> None:
    inputs, _ = held(50)
    before, weights = inputs.clone(), [weight.clone() for weight in model.parameters()]
    stream = torch.get_rng_state()

    cascade(scene(model, inputs, radius=0.1), QUICK)

    assert torch.equal(inputs, before)
    assert not inputs.requires_grad
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), weights, strict=True))
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), stream)


def test_the_time_that_is_up_leaves_the_rest_undecided(model: nn.Module) -> None:
    here = scene(model, held(50)[0], radius=0.1, until=time.monotonic())

    fall = cascade(here, QUICK)

    assert not bool(fall.finished[~fall.fooled].any())
    assert bool(cascade(replace(here, until=None), QUICK).finished.all())


def test_each_attack_is_credited_with_what_it_was_first_to_fool(model: nn.Module) -> None:
    fall = cascade(scene(model, held(100)[0], radius=0.12), QUICK)

    assert sum(fall.by.values()) == int(fall.fooled.sum())
    assert fall.by["fgsm"] > 0
    assert fall.looks > 100


def test_the_steepest_direction_survives_a_tiny_gradient() -> None:
    class Faint(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return 1e-30 * torch.stack([given[:, 0] - 0.45, 0.5 - given[:, 0]], dim=1)

    here = scene(Faint(), torch.full((4, 2), 0.45), radius=0.1, norm=Norm.L2, bounds=None)

    assert bool(pgd(here, every(here), here.centre, steps=Steps(count=8)).fooled.all())


def test_a_model_without_a_gradient_is_attacked_by_questions_alone(model: nn.Module) -> None:
    class Shut(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return model(given.detach())

    here = scene(Shut(), held(80)[0], radius=0.15)

    assert not bool(pgd(here, every(here), here.centre, steps=Steps(count=5)).fooled.any())
    assert bool(square(here, every(here), count=100).fooled.any())


@pytest.mark.parametrize("shape", [(6,), (1, 3), (4, 5, 2), (2, 3, 4, 4)])
@pytest.mark.parametrize(("norm", "radius"), [(Norm.LINF, 0.5), (Norm.L2, 1.0)])
def test_every_shape_is_attacked(shape: tuple[int, ...], norm: Norm, radius: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        victim = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2))
        inputs = torch.randn(20, *shape)
    here = scene(victim.requires_grad_(False), inputs, radius=radius, norm=norm, bounds=None)

    for attack in (ATTACKS["pgd"], ATTACKS["square"]):
        found = attack(here, every(here))
        assert found.inputs.shape == inputs.shape
        assert float(distance(found.inputs, inputs, norm).max()) <= radius
        assert bool(found.fooled.any())


def test_two_classes_have_no_ratio() -> None:
    def ask(given: Tensor, rows: Tensor) -> Tensor:
        del rows
        return given

    aim = ClassAim.of(ask, torch.tensor([[0.0, 1.0]]))
    assert Climb.RATIO not in aim.climbs
    here = Scene(
        aim=aim,
        centre=torch.tensor([[0.0, 1.0]]),
        numbers=torch.tensor([0]),
        ball=Ball(norm=Norm.LINF, radius=0.6),
    )
    assert bool(cascade(here, QUICK).fooled.all())


def test_of_two_classes_the_likelihood_takes_the_steps_of_the_margin() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2)).double().requires_grad_(False)
    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    here = scene(model, inputs, radius=0.3, bounds=None)
    rows = every(here)
    start = random_start(here, rows, stream=0)

    one, other = (
        apgd(here, rows, start, count=20, loss=Loss(climb=climb)) for climb in (Climb.LIKELIHOOD, Climb.MARGIN)
    )

    assert 0 < int(one.fooled.sum()) < 40
    assert torch.equal(one.fooled, other.fooled)


def test_the_ratio_does_not_feel_the_scale_of_the_logits() -> None:
    small = fitted(cnn)
    inputs, _ = held(60)

    class Loud(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return 1e4 * small(given)

    plain, loud = (
        apgd(
            scene(victim, inputs, radius=0.06),
            torch.arange(60),
            inputs,
            count=15,
            loss=Loss(climb=Climb.RATIO),
        ).fooled
        for victim in (small, Loud())
    )
    assert int((plain != loud).sum()) <= 1
    assert bool(plain.any())


def test_the_best_batch_is_one_of_the_sizes(model: nn.Module) -> None:
    assert best_batch(scene(model, held(100)[0], radius=0.1)) in (8, 16, 32, 64)
    assert best_batch(scene(model, held(3)[0], radius=0.1)) == 3


@pytest.mark.parametrize("climb", Climb)
def test_the_slope_alone_is_that_of_a_whole_look(climb: Climb, model: nn.Module) -> None:
    here = scene(model, held(40)[0], radius=0.1)
    rows, loss = every(here), Loss(climb=climb)
    torch.testing.assert_close(here.slope(rows, loss)(here.centre), here.look(here.centre, rows, loss).gradient)
