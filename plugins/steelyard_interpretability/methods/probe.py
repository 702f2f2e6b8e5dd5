"""Which methods would be silently wrong on a model: asked of a few examples before anybody explains.

A method that passes is right as far as the probe can see. It looks at four things: whether the score is a function of
one example alone, whether it is finite at the baseline, whether its gradient accounts for it (the integral of the
gradient from the baseline to the input is the difference of the score, for every differentiable score), and, for
methods that hook into layers, whether every operation on the inputs' way is one whose rule they know. A product with
a mask that is computed from the input without a gradient looks linear to it.

What looks wrong in the model's own precision is asked again in double precision: where it is right there, the model
rounds away what its decision changes by, and it is the methods that take such differences that are wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from steelyard_interpretability._gradients import FIRST_STEPS, integrated
from steelyard_interpretability.methods._graph import Graph, reaches, traced
from steelyard_interpretability.methods._propagation import has_rule
from steelyard_interpretability.methods.grouping import grid
from steelyard_interpretability.methods.hooked import cam_layer
from steelyard_interpretability.methods.question import Question, asked
from steelyard_interpretability.methods.scored import in_double

EXAMPLES = 3
"""That are asked about."""
MOST_STEPS = 511
MISSED = 0.05
"""Part of the score's difference, or of the attributions' mass if that is larger, that the gradient may leave open."""
SAME = 1e-4
"""Difference of two answers, as a part of the largest, that is rounding."""
FROM_BASELINE = frozenset(
    {
        "integrated_gradients",
        "input_x_gradient",
        "gradient_shap",
        "deep_lift",
        "occlusion",
        "ablation",
        "shapley",
        "kernel_shap",
        "lime",
    }
)
REMOVAL = frozenset({"occlusion", "ablation", "shapley", "kernel_shap", "lime"})
GRADIENT = frozenset({"integrated_gradients", "saliency", "input_x_gradient", "smoothgrad", "gradient_shap"})
LAYERS = frozenset({"deep_lift", "deep_lift_shap", "guided_backprop", "deconvolution", "grad_cam", "guided_grad_cam"})
OF_LAYER = frozenset({"conductance", "internal_influence", "layer_activation"})
OF_NEURON = frozenset({"neuron_conductance"})
RULES: Mapping[str, tuple[type[nn.Module], ...]] = {
    "Relu": (nn.ReLU,),
    "Elu": (nn.ELU,),
    "LeakyRelu": (nn.LeakyReLU,),
    "Sigmoid": (nn.Sigmoid,),
    "Tanh": (nn.Tanh,),
    "Softplus": (nn.Softplus,),
    "MaxPool2DWithIndices": (nn.MaxPool1d, nn.MaxPool2d),
    "MaxPool3DWithIndices": (nn.MaxPool3d,),
}
"""Operations that DeepLIFT has a rule for, if a layer of its own does them."""
AFFINE = frozenset(
    {
        "AccumulateGrad",
        "Clone",
        "ToCopy",
        "Addmm",
        "Mm",
        "Mv",
        "Bmm",
        "Baddbmm",
        "Dot",
        "Add",
        "Sub",
        "Rsub",
        "Neg",
        "Mul",
        "Div",
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Permute",
        "Transpose",
        "T",
        "Expand",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Select",
        "Index",
        "Gather",
        "IndexSelect",
        "Cat",
        "Stack",
        "Split",
        "SplitWithSizes",
        "Unbind",
        "Unfold",
        "Sum",
        "Mean",
        "AvgPool2D",
        "AvgPool3D",
        "AdaptiveAvgPool2D",
        "AdaptiveAvgPool3D",
        "AvgPool1D",
        "Convolution",
        "MkldnnConvolution",
        "NativeBatchNorm",
        "CudnnBatchNorm",
        "ConstantPadNd",
        "ReflectionPad1D",
        "ReflectionPad2D",
        "ReplicationPad1D",
        "ReplicationPad2D",
        "UpsampleNearest2D",
        "UpsampleBilinear2D",
        "PixelShuffle",
        "Flip",
        "Roll",
        "Repeat",
        "AsStrided",
        "Alias",
        "Im2Col",
        "Diagonal",
        "Cumsum",
        "CopySlices",
        "CopyBackwards",
    }
)
ACTIVATIONS = frozenset(
    {
        "Gelu",
        "Silu",
        "Mish",
        "Elu",
        "LeakyRelu",
        "Hardtanh",
        "Hardswish",
        "Hardsigmoid",
        "Softplus",
        "Tanh",
        "Sigmoid",
        "Prelu",
        "PreluKernel",
        "Celu",
        "Glu",
        "Clamp",
        "ClampMin",
        "ClampMax",
        "Where",
        "Maximum",
        "Abs",
    }
)
"""What may stand where a ReLU would, without guided backpropagation knowing of it."""
OTHERS = "take integrated_gradients"
BLIND = "take kernel_shap, which asks for no gradient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found.

    Attributes:
        every: Why no method at all can be right; "" if some can.
        baseline: Why none can that starts from the baseline.
        gradient: Why none can that follows the gradient.
        removal: Why none can that takes parts away.
        layers: Method of layers -> why it cannot.
        asked: Methods of a layer or neuron that there is one for.
    """

    every: str
    baseline: str
    gradient: str
    layers: Mapping[str, str]
    removal: str = ""
    asked: frozenset[str] = frozenset()

    def objection(self, name: str) -> str:
        """Why a method would be wrong, and what to take instead; "" where nothing speaks against it."""
        if self.every:
            return self.every
        if name in OF_LAYER | OF_NEURON and name not in self.asked:
            return f"no {'layer' if name in OF_LAYER else 'neuron'} is named that it could be of; {OTHERS}"
        if self.baseline and name in FROM_BASELINE:
            return self.baseline
        if self.removal and name in REMOVAL:
            return self.removal
        if self.gradient and name in GRADIENT | LAYERS | OF_NEURON | {"lrp"} | OF_LAYER - {"layer_activation"}:
            return self.gradient
        return self.layers.get(name, "")


def probed(question: Question) -> Probe:
    """Asks a few of a question's examples."""
    some = question.only(torch.arange(min(EXAMPLES, len(question.inputs)), device=question.inputs.device))
    finite = bool(torch.isfinite(asked(some.score, some, some.inputs, some.rows())).all())
    every = _restless(some) if finite else "the score is not finite, so no method can explain it"
    exact = in_double(some) if every and finite else None
    if exact is not None and not _restless(exact):
        every = ""
    if every:
        return Probe(every=every, baseline="", gradient="", layers={})
    answerable = frozenset[str]() if some.below is None else OF_LAYER if some.neuron is None else OF_NEURON
    baseline = (
        ""
        if bool(torch.isfinite(asked(some.score, some, some.baselines, some.rows())).all())
        else "the score is not finite at the baseline; choose another baseline, or take saliency, which needs none"
    )
    graph = traced(some)
    if graph is None:
        words = f"the score carries no gradient; {BLIND}"
        return Probe(every="", baseline=baseline, gradient=words, layers={}, asked=answerable)
    gradient, removal = ("", "") if baseline else _unaccounted(some)
    layers = {} if gradient else _layers(some, graph)
    if some.below is not None:
        layers = {**layers, **_on_the_way(some.below)}
    return Probe(every="", baseline=baseline, gradient=gradient, layers=layers, removal=removal, asked=answerable)


def _on_the_way(below: Question) -> dict[str, str]:
    """Why methods that go from the inputs' baseline to the inputs would be wrong, if so."""
    found = probed(below)
    words = found.every or found.baseline or found.gradient
    return dict.fromkeys((OF_LAYER - {"layer_activation"}) | OF_NEURON, words) if words else {}


def _restless(question: Question) -> str:
    rows = question.rows()
    first, second = (asked(question.score, question, question.inputs, rows) for _ in range(2))
    scale = SAME * float(first.abs().max()) + 1e-12
    if float((first - second).abs().max()) > scale:
        return "the model answers the same question differently each time, so no method can explain its answer"
    # Twice, since layers that take statistics of a batch do not take a single example.
    pairs = [row.expand(2) for row in rows]
    alone = torch.cat([asked(question.score, question, question.inputs[pair], pair)[:1] for pair in pairs])
    if float((first - alone).abs().max()) > scale:
        return "the score of an example depends on the examples beside it, so no method can explain it by its own parts"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    difference: Tensor
    scale: Tensor
    missed: float
    words: str = ""


def _unaccounted(question: Question) -> tuple[str, str]:
    """Why the gradient does not account for the score, if so, and why differences of the score do not."""
    found = _account(question)
    exact = in_double(question) if found.missed > MISSED else None
    right = None if exact is None else _account(exact)
    if right is None or right.missed > MISSED:
        return found.words, ""
    rounded = float(((found.difference - right.difference).abs() / right.scale).max())
    kind = str(question.inputs.dtype).removeprefix("torch.")
    words = f"the score is so large that {kind} rounds away {rounded:.0%} of what it changes by; {OTHERS}"
    return "", words if rounded > MISSED else ""


def _account(question: Question) -> _Account:
    """How much of the score's change the gradient leaves open, and in words if no number of steps helps."""
    ends = [asked(question.score, question, end, question.rows()) for end in (question.inputs, question.baselines)]
    difference = (ends[0] - ends[1]).double().detach()
    steps, missed, scale, found = FIRST_STEPS, 0.0, difference.abs(), None
    while steps <= max(FIRST_STEPS, min(MOST_STEPS, question.max_steps)):
        found = integrated(
            question.score,
            inputs=question.inputs,
            baselines=question.baselines,
            rows=question.rows(),
            steps=steps,
            at_once=question.at_once,
            half=found,
        )
        flat = found.double().flatten(1)
        if not bool(torch.isfinite(flat).all()):
            words = f"the gradient of the score is not finite; {BLIND}"
            return _Account(difference=difference, scale=scale, missed=torch.inf, words=words)
        scale = torch.maximum(difference.abs(), flat.abs().sum(dim=1)).clamp(min=1e-12)
        missed = float(((flat.sum(dim=1) - difference).abs() / scale).max())
        if missed <= MISSED:
            break
        steps = 2 * steps + 1
    words = (
        f"the gradient leaves {missed:.0%} of the score's change unexplained, as where something is rounded, decided, "
        f"detached or has a gradient of its own making; {BLIND}"
    )
    return _Account(difference=difference, scale=scale, missed=missed, words=words if steps > MOST_STEPS else "")


def _layers(question: Question, graph: Graph) -> dict[str, str]:
    found: dict[str, str] = {}
    relevance = {"lrp": words} if (words := _lrp(graph)) else {}
    if not graph.layers:
        return {**dict.fromkeys(LAYERS, f"there are no layers to look at; {OTHERS}"), **relevance}
    if graph.compiled:
        words = f"the model is compiled, and hooks on its layers are not called; {OTHERS}"
        return {**dict.fromkeys(LAYERS, words), **relevance}
    deep = _deep_lift(graph)
    objections = {
        "deep_lift": deep,
        "deep_lift_shap": deep or _background(question),
        "guided_backprop": (guided := _guided(graph, "guided backpropagation")),
        "deconvolution": _guided(graph, "deconvolution"),
        "grad_cam": (cam := _cam(question, graph)),
        "guided_grad_cam": cam or guided,
    }
    for name, words in objections.items():
        if words:
            found[name] = words
    return {**found, **relevance}


def _lrp(graph: Graph) -> str:
    strange = sorted(name for name in {*graph.steps} - AFFINE if not has_rule(name))
    if strange:
        return f"LRP has no rule for {', '.join(strange)}; {OTHERS}"
    if "Div" in graph.products or "Dot" in graph.products or "Mv" in graph.products:
        return f"LRP has no rule for quotients of two things that depend on the input; {OTHERS}"
    return ""


def _deep_lift(graph: Graph) -> str:
    strange = sorted({*graph.steps} - AFFINE - {*RULES})
    if strange:
        return f"DeepLIFT has no rule for {', '.join(strange)}; {OTHERS}"
    products = sorted(graph.products & {"Mul", "Div", "Mm", "Bmm", "Baddbmm", "Addmm", "Dot", "Mv"})
    if products:
        return f"DeepLIFT has no rule for products of two things that depend on the input; {OTHERS}"
    return _by_hooks(graph, "DeepLIFT", [step for step in RULES if step in graph.steps])


def _background(question: Question) -> str:
    if question.background is None or question.background.shape[1:] != question.inputs.shape[1:]:
        return "there are no examples of the inputs' shape to stand for all; take gradient_shap"
    return ""


def _guided(graph: Graph, who: str) -> str:
    others = sorted({*graph.steps} & ACTIVATIONS)
    if others:
        return f"{who} knows ReLU only, and the model has {', '.join(others)}; {OTHERS}"
    if "Relu" not in graph.steps:
        return f"the model has no ReLU, and {who} would be the plain gradient; take saliency"
    return _by_hooks(graph, who, ["Relu"])


def _by_hooks(graph: Graph, who: str, steps: list[str]) -> str:
    """What a method that needs every activation to be a layer of its own cannot know of."""
    for step in steps:
        calls = {
            name: graph.calls.get(name, 0) for name, layer in graph.layers.items() if isinstance(layer, RULES[step])
        }
        twice = [name for name, count in calls.items() if count > 1]
        if twice:
            return f"{who} cannot tell the uses of {twice[0]} apart, which is called more than once; {OTHERS}"
        if graph.steps[step] > sum(calls.values()):
            return f"{who} does not see {step}, which is called as a function and not as a layer; {OTHERS}"
        busy = [name for name in calls if name in graph.hooked]
        if busy:
            return f"{who} passes over {busy[0]}, which has backward hooks of somebody else; {OTHERS}"
    return ""


def _cam(question: Question, graph: Graph) -> str:
    try:
        name = cam_layer(question)
    except ValueError as error:
        return f"{error}; take occlusion"
    if question.inputs.dim() != 4 or len(grid(question.units)) != 2:
        return "Grad-CAM needs pictures whose pixels are the units; take occlusion"
    if graph.calls.get(name, 0) > 1:
        return f"Grad-CAM cannot tell the uses of {name} apart, which is called more than once; take occlusion"
    if not reaches(question, graph.layers[name]):
        return f"the score does not depend on {name}, the last convolution; take occlusion"
    return ""
