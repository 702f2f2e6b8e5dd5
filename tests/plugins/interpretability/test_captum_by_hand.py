"""Every method of Captum, called by hand, says what ours says to a millionth; or it is not offered, and why is told."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnLinearRegression, SkLearnRidge
from torch import Tensor, nn

from captum_cases import CLASSES, Case, bent, seen, smooth, table
from questions_to_models import to_model, to_score
from steelyard_interpretability.methods.captum_names import HERE, NOT_OFFERED, here
from steelyard_interpretability.methods.hooked import cam_layer
from steelyard_interpretability.methods.layered import STEPS, at_layer, of_neuron
from steelyard_interpretability.methods.question import Question
from steelyard_interpretability.methods.registry import METHODS, Of, explain, unknown
from steelyard_interpretability.methods.removal import occlusion
from steelyard_interpretability.methods.shapley import KERNEL_WIDTH, RIDGE, drawn, kernel_shap

pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor", "ignore:Setting", "ignore:Attempting to construct")
NEURON = (1,)
ABSTRACT = ("Attribution", "GradientAttribution", "PerturbationAttribution", "NeuronAttribution", "LayerAttribution")


Pair = tuple[Tensor, Tensor]
"""What we say, and what Captum says."""
ORACLES: dict[str, Callable[[], Pair]] = {}


def of(captums: str) -> Callable[[Callable[[], Pair]], Callable[[], Pair]]:
    def keep(made: Callable[[], Pair]) -> Callable[[], Pair]:
        ORACLES[captums] = made
        return made

    return keep


def plain(case: Callable[[], Case], captums: str, by_hand: Callable[[Case, Any], Any]) -> None:
    def pair() -> Pair:
        here = case()
        return explain(HERE[captums], here.ask()), by_hand(here, getattr(attr, captums)(here.model))

    ORACLES[captums] = pair


def layered(case: Callable[[], Case], captums: str, layer: int, by_hand: Callable[[Case, Any], Any]) -> None:
    def pair() -> Pair:
        here = case()
        found = explain(HERE[captums], at_layer(here.ask(), str(layer)))
        return found, by_hand(here, getattr(attr, captums)(here.model, here.model[layer]))

    ORACLES[captums] = pair


def neuronal(case: Callable[[], Case], captums: str, by_hand: Callable[[Case, Any], Any]) -> None:
    def pair() -> Pair:
        here = case()
        found = explain(HERE[captums], of_neuron(here.ask(), "3", NEURON))
        return found, by_hand(here, getattr(attr, captums)(here.model, here.model[3]))

    ORACLES[captums] = pair


plain(smooth, "IntegratedGradients", lambda c, m: m.attribute(**c.both, n_steps=64))
plain(bent, "Saliency", lambda c, m: m.attribute(c.inputs, **c.words))
plain(bent, "DeepLift", lambda c, m: m.attribute(**c.both))
plain(bent, "DeepLiftShap", lambda c, m: m.attribute(c.inputs, c.background, **c.words))
plain(seen, "GuidedBackprop", lambda c, m: m.attribute(c.inputs, **c.words))
plain(seen, "Deconvolution", lambda c, m: m.attribute(c.inputs, **c.words))
plain(bent, "ShapleyValues", lambda c, m: m.attribute(**c.both))
layered(smooth, "LayerIntegratedGradients", 1, lambda c, m: m.attribute(**c.both, n_steps=64))
layered(bent, "LayerActivation", 1, lambda c, m: m.attribute(c.inputs) - m.attribute(c.base))
layered(bent, "LayerDeepLift", 1, lambda c, m: m.attribute(**c.both))
layered(bent, "LayerDeepLiftShap", 1, lambda c, m: m.attribute(c.inputs, c.background, **c.words))
layered(bent, "LayerConductance", 1, lambda c, m: m.attribute(**c.both, n_steps=STEPS))
layered(bent, "InternalInfluence", 2, lambda c, m: m.attribute(**c.both, n_steps=STEPS))
layered(
    smooth,
    "LayerFeatureAblation",
    1,
    lambda c, m: m.attribute(c.inputs, layer_baselines=c.model[:2](c.base).detach(), **c.words),
)
layered(bent, "LayerLRP", 2, lambda c, m: m.attribute(c.inputs, **c.words))
neuronal(bent, "NeuronGradient", lambda c, m: m.attribute(c.inputs, NEURON).abs())
neuronal(smooth, "NeuronIntegratedGradients", lambda c, m: m.attribute(c.inputs, NEURON, c.base, n_steps=64))
neuronal(bent, "NeuronConductance", lambda c, m: m.attribute(c.inputs, NEURON, c.base, **c.words, n_steps=STEPS))
neuronal(bent, "NeuronDeepLift", lambda c, m: m.attribute(c.inputs, NEURON, c.base))
neuronal(bent, "NeuronDeepLiftShap", lambda c, m: m.attribute(c.inputs, NEURON, c.background))
neuronal(bent, "NeuronFeatureAblation", lambda c, m: m.attribute(c.inputs, NEURON, c.base))
neuronal(bent, "NeuronGuidedBackprop", lambda c, m: m.attribute(c.inputs, NEURON))
neuronal(bent, "NeuronDeconvolution", lambda c, m: m.attribute(c.inputs, NEURON))


@of("InputXGradient")
def _() -> Pair:
    case = bent()
    found = explain("input_x_gradient", to_model(case.model, case.inputs, decisions=CLASSES))
    return found, attr.InputXGradient(case.model).attribute(case.inputs.clone(), target=CLASSES)


@of("LayerGradientXActivation")
def _() -> Pair:
    """Captum's baseline is that the layer gives nothing."""
    case = Case(table(nn.Tanh()), 5)
    posed = at_layer(to_model(case.model, case.inputs, decisions=CLASSES), "1")
    method: Any = attr.LayerGradientXActivation(case.model, case.model[1])
    return explain("input_x_gradient", posed), method.attribute(case.inputs, target=CLASSES)


@of("LRP")
def _() -> Pair:
    case = seen()
    return explain("lrp", case.ask()), attr.LRP(case.model).attribute(case.inputs.clone(), target=CLASSES)


@of("LayerGradCam")
def _() -> Pair:
    case = seen()
    method: Any = attr.LayerGradCam(case.model, case.model.body[2])
    small = method.attribute(case.inputs, target=CLASSES, relu_attributions=True)
    shown: Any = attr.LayerAttribution.interpolate(small, (8, 8), interpolate_mode="bilinear")
    assert cam_layer(case.ask()) == "body.2"
    named: Any = attr.LayerGradCam(case.model, case.model.body[0])
    theirs = [shown, named.attribute(case.inputs, target=CLASSES, relu_attributions=True)]
    # Ours is shared by the two channels.
    ours = [2 * explain("grad_cam", case.ask(layer=layer))[:, :1] for layer in (None, "body.0")]
    return torch.cat(ours), torch.cat(theirs)


@of("GuidedGradCam")
def _() -> Pair:
    case = seen()
    method: Any = attr.GuidedGradCam(case.model, case.model.body[2])
    theirs = method.attribute(case.inputs.clone(), target=CLASSES, interpolate_mode="bilinear")
    return explain("guided_grad_cam", case.ask()), theirs


@of("FeatureAblation")
def _() -> Pair:
    case = seen()
    pixels = torch.arange(64).view(1, 1, 8, 8)
    theirs: Any = attr.FeatureAblation(case.model).attribute(**case.both, feature_mask=pixels)
    # Ours shares a pixel's loss evenly by its two channels.
    return 2 * explain("ablation", case.ask()), theirs


@of("Occlusion")
def _() -> Pair:
    case = seen()
    theirs: Any = attr.Occlusion(case.model).attribute(**case.both, sliding_window_shapes=(2, 3, 3), strides=(2, 2, 2))
    return 2 * occlusion(case.ask(), window=(3, 3), stride=(2, 2)), theirs


@of("ShapleyValueSampling")
def _() -> Pair:
    """Over all orders there are, which is what its draws estimate."""
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    case = Case(model, 3)
    orders = itertools.permutations(range(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randperm", lambda count, **settings: torch.tensor(next(orders)))
        theirs = attr.ShapleyValueSampling(model).attribute(**case.both, n_samples=6)
    return explain("shapley", case.ask()), theirs


@of("NoiseTunnel")
def _() -> Pair:
    """Of the plain gradient, with our noise; ours takes it times the input."""
    case, asked = smooth(), list[Tensor]()
    handle = case.model.register_forward_pre_hook(lambda module, given: asked.append(given[0].detach().clone()))
    ours = METHODS["smoothgrad"].explain(case.ask())
    handle.remove()
    drawn_here = torch.stack(asked, dim=1) - case.inputs[:, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "normal", lambda mean, deviations: drawn_here.flatten(0, 1))
        method: Any = attr.NoiseTunnel(attr.Saliency(case.model))
        theirs = method.attribute(case.inputs, target=CLASSES, nt_samples=len(asked), abs=False)
    spread = drawn_here.std(dim=(1, 2)) / (case.inputs.amax(dim=1) - case.inputs.amin(dim=1))
    assert float((spread - 0.15).abs().max()) < 0.05
    return ours, (case.inputs - case.base) * theirs


def shap(case: Case, posed: Question, start: nn.Module, ends: tuple[Tensor, Tensor], by_hand: Any) -> Pair:
    """Expected gradients of each example, at the places where ours were looked at.

    Args:
        case: Whose examples.
        posed: The question.
        start: The module whose input moves from the one end to the other.
        ends: Baseline and input there.
        by_hand: Captum with one example and keywords.
    """
    asked = list[Tensor]()
    handle: Any = start.register_forward_pre_hook(lambda module, given: asked.append(given[0].detach().clone()))
    ours = METHODS["gradient_shap"].explain(posed)
    handle.remove()
    places = ((torch.stack(asked, dim=1) - ends[0][:, None]) / (ends[1] - ends[0])[:, None]).mean(dim=2)
    assert 0 <= float(places.min()) <= float(places.max()) <= 1
    found: list[Tensor] = []
    for row in range(len(CLASSES)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "uniform", lambda low, high, count, row=row: places[row].numpy())
            one = slice(row, row + 1)
            found.append(by_hand(row, case.inputs[one].clone(), case.base[one], n_samples=len(asked)))
    return ours, torch.cat(found)


@of("GradientShap")
def _() -> Pair:
    case = smooth()
    method: Any = attr.GradientShap(case.model)
    return shap(
        case,
        case.ask(),
        case.model,
        (case.base, case.inputs),
        lambda row, *ends, **words: method.attribute(*ends, target=int(CLASSES[row]), **words),
    )


@of("LayerGradientShap")
def _() -> Pair:
    """At a layer that is linear in the inputs: ours goes straight in the layer, Captum's straight in the inputs."""
    case = smooth()
    method: Any = attr.LayerGradientShap(case.model, case.model[0])
    return shap(
        case,
        at_layer(case.ask(), "0"),
        case.model[1],
        (case.model[0](case.base).detach(), case.model[0](case.inputs).detach()),
        lambda row, *ends, **words: method.attribute(*ends, target=int(CLASSES[row]), **words),
    )


@of("NeuronGradientShap")
def _() -> Pair:
    case = smooth()
    method: Any = attr.NeuronGradientShap(case.model, case.model[3])
    return shap(
        case,
        of_neuron(case.ask(), "3", NEURON),
        case.model,
        (case.base, case.inputs),
        lambda row, start, base, **words: method.attribute(start, NEURON, base, **words),
    )


@contextmanager
def coalitions(case: Case) -> Iterator[list[Tensor]]:
    """Those of the only example, whose inputs are not zero where they stay."""
    found = list[Tensor]()
    handle = case.model.register_forward_pre_hook(lambda module, given: found.append(given[0].detach() != 0))
    yield found
    handle.remove()


def fitted(case: Case, keep: Tensor, weights: Tensor, model: Any) -> Tensor:
    """Captum's weighted fit to these coalitions of the first example, the baseline being zero."""
    lots, worth = iter(keep.double()), iter(weights.tolist())

    def perturb(original: Any, **settings: Any) -> Any:
        yield from (row[None] for row in lots)

    method: Any = attr.LimeBase(
        case.model,
        model,
        lambda original, perturbed, interpretable, **settings: next(worth),
        perturb,
        True,
        lambda row, original, **settings: row * original,
        None,
    )
    return method.attribute(case.inputs[:1], target=0, n_samples=len(keep), perturbations_per_eval=1).double()


@of("KernelShap")
def _() -> Pair:
    case = smooth()
    with coalitions(case) as asked:
        ours = kernel_shap(to_model(case.model, case.inputs[:1], decisions=CLASSES[:1]), coalitions=20)
    keep, weights = drawn(5, count=20, seed=0)
    rows = torch.cat(asked)[-len(keep) - 2 :]
    assert torch.equal(rows[2:], torch.as_tensor(keep))
    # Captum holds the sum by a weight that outweighs all others, and so do we with a larger one here.
    ends = torch.tensor([1e9, 1e9], dtype=torch.double)
    return ours, fitted(case, rows, torch.cat([ends, torch.as_tensor(weights)]), SkLearnLinearRegression()).view(1, 5)


@of("Lime")
def _() -> Pair:
    case = smooth()
    posed = to_model(case.model, case.inputs[:1], decisions=CLASSES[:1])
    with coalitions(case) as asked:
        ours = METHODS["lime"].explain(posed)
    keep = torch.cat(asked).double()
    weights = torch.exp(-(((1 - keep.mean(dim=1).sqrt()) / KERNEL_WIDTH) ** 2))
    centred = keep - (weights[:, None] * keep).sum(dim=0) / weights.sum()
    alpha = RIDGE * float((weights[:, None] * centred**2).sum(dim=0).mean())
    return ours, fitted(case, keep, weights, SkLearnRidge(alpha=alpha)).view(1, 5)


ORACLES["LimeBase"] = ORACLES["Lime"]
CLASSED = {name: getattr(attr, name) for name in attr.__all__ if inspect.isclass(getattr(attr, name))}
KNOWN = [name for name, kind in CLASSED.items() if issubclass(kind, attr.Attribution) and name not in ABSTRACT]


@pytest.mark.parametrize("captums", KNOWN)
def test_captum_called_by_hand_says_the_same_or_it_is_said_why_not(captums: str) -> None:
    (problem,) = unknown((captums,), option="x")
    if captums in NOT_OFFERED:
        why, instead = NOT_OFFERED[captums]
        assert f"not offered: {why}; take {instead}" in problem.message
        assert problem.fix == f"x=[{instead}]"
        return
    assert HERE[captums] in problem.message
    assert problem.fix == f"x=[{HERE[captums]}]"
    # Some of Captum's give single precision.
    ours, theirs = (part.detach().double() for part in ORACLES[captums]())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert float(theirs.abs().max()) > 0.005


def test_no_method_is_without_captums_word() -> None:
    assert {*HERE.values()} == {*METHODS}
    assert {*HERE} == {*ORACLES}
    assert {*HERE} | {*NOT_OFFERED} == {*KNOWN}
    assert {instead for _, instead in NOT_OFFERED.values()} <= {*METHODS}


def test_names_are_understood_as_they_are_written_elsewhere() -> None:
    assert here("magic") is None
    assert {here(name) for name in ("DeepLift", "deeplift", "deep_lift")} == {here("DeepLift")}
    (problem,) = unknown(("layer_conductance",), option="x")
    assert "Captum's LayerConductance is conductance here with `layer`" in problem.message
    (problem,) = unknown(("salience",), option="x")
    assert problem.fix == "x=[saliency]"


ANYWHERE = [name for name, method in METHODS.items() if method.of is Of.ANYTHING and "cam" not in name]


@pytest.mark.parametrize("name", ANYWHERE)
def test_of_a_layer_a_method_is_that_of_the_model_above_and_of_a_neuron_that_of_the_model_below(name: str) -> None:
    case = bent()
    above: Any = case.model[2:]
    given = [case.model[:2](end).detach() for end in (case.inputs, case.base, case.background)]
    plainly = to_model(above, given[0], baselines=given[1], decisions=CLASSES, background=given[2], max_steps=512)
    torch.testing.assert_close(
        explain(name, at_layer(case.ask(tolerance=0.05, max_steps=512), "1")), explain(name, plainly), rtol=0, atol=1e-9
    )
    below = case.model[:4]
    asked = to_score(
        lambda x, rows: below(x)[:, 1],
        case.inputs,
        baselines=case.base,
        task=below,
        background=case.background,
    )
    found = explain(name, of_neuron(case.ask(tolerance=0.05, max_steps=512), "3", NEURON))
    torch.testing.assert_close(found, explain(name, asked), rtol=0, atol=1e-9)
