"""The same attack in three libraries: the same verdict on every single example."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.victims import cnn, fitted, held, linear, mlp, scene
from steelyard_stability.attacks import Norm, Plan, Scene, Steps, cascade, pgd

pytestmark = pytest.mark.slow

COUNT = 20
MODELS = {"linear": linear, "mlp": mlp, "cnn": cnn}
RADII = {Norm.LINF: (0.02, 0.06, 0.12), Norm.L2: (0.2, 0.5, 1.0)}


def verdicts(model: nn.Module, inputs: Tensor, targets: Tensor, norm: Norm, radius: float, *, count: int) -> Tensor:
    here = scene(model, inputs, radius=radius, norm=norm, decisions=targets)
    steps = Steps(count=count, step=0.25 if count > 1 else 1.0, early=False)
    return pgd(here, torch.arange(len(inputs)), inputs, steps=steps).fooled


@pytest.mark.parametrize("count", [1, COUNT])
@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("name", MODELS)
def test_foolbox_says_the_same_of_every_example(name: str, norm: Norm, count: int) -> None:
    foolbox: Any = pytest.importorskip("foolbox", reason="the extra `oracles` is not installed")
    model, (inputs, targets) = fitted(MODELS[name]), held(500)
    library = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    kinds = {Norm.LINF: foolbox.attacks.LinfPGD, Norm.L2: foolbox.attacks.L2PGD}
    attack = kinds[norm](rel_stepsize=0.25 if count > 1 else 1.0, steps=count, random_start=False)

    for radius in RADII[norm]:
        _, found, _ = attack(library, inputs, targets, epsilons=radius)
        theirs = model(found).argmax(dim=1) != targets
        assert torch.equal(verdicts(model, inputs, targets, norm, radius, count=count), theirs)


@pytest.mark.parametrize("count", [1, COUNT])
@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("name", MODELS)
def test_torchattacks_says_the_same_of_every_example(name: str, norm: Norm, count: int) -> None:
    library: Any = pytest.importorskip("torchattacks", reason="pip install --no-deps torchattacks")
    model, (inputs, targets) = fitted(MODELS[name]), held(500)
    kinds = {Norm.LINF: (library.PGD, "alpha"), Norm.L2: (library.PGDL2, "alpha")}
    kind, step = kinds[norm]

    for radius in RADII[norm]:
        length = {step: radius * (0.25 if count > 1 else 1.0)}
        attack = kind(model, eps=radius, steps=count, random_start=False, **length)
        theirs = model(attack(inputs, targets)).argmax(dim=1) != targets
        assert torch.equal(verdicts(model, inputs, targets, norm, radius, count=count), theirs)


@pytest.mark.parametrize(("norm", "radius"), [(Norm.LINF, 0.08), (Norm.L2, 0.5)])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_cascade_is_as_strong_as_autoattack(norm: Norm, radius: float, noise: float) -> None:
    library: Any = pytest.importorskip("torchattacks", reason="pip install --no-deps torchattacks")
    model, (inputs, targets) = fitted(cnn, noise=noise), held(500)
    names = {Norm.LINF: "Linf", Norm.L2: "L2"}
    attack = library.AutoAttack(model, norm=names[norm], eps=radius, version="standard", n_classes=10, seed=0)
    with torch.random.fork_rng():
        theirs = model(attack(inputs, targets)).argmax(dim=1) == targets
    here: Scene = scene(model, inputs, radius=radius, norm=norm, decisions=targets)

    ours = ~cascade(here, Plan()).fooled

    assert 0.02 < float(theirs.double().mean()) < 0.98
    assert float(ours.double().mean()) <= float(theirs.double().mean()) + 0.005
