"""Captum's classes by their names there: what each is called here, and why some are not offered."""

from collections.abc import Mapping
from types import MappingProxyType

HERE: Mapping[str, str] = MappingProxyType(
    {
        "IntegratedGradients": "integrated_gradients",
        "Saliency": "saliency",
        "InputXGradient": "input_x_gradient",
        "NoiseTunnel": "smoothgrad",
        "GradientShap": "gradient_shap",
        "DeepLift": "deep_lift",
        "DeepLiftShap": "deep_lift_shap",
        "GuidedBackprop": "guided_backprop",
        "Deconvolution": "deconvolution",
        "GuidedGradCam": "guided_grad_cam",
        "LRP": "lrp",
        "FeatureAblation": "ablation",
        "Occlusion": "occlusion",
        "ShapleyValues": "shapley",
        "ShapleyValueSampling": "shapley",
        "KernelShap": "kernel_shap",
        "Lime": "lime",
        "LimeBase": "lime",
        "LayerActivation": "layer_activation",
        "LayerConductance": "conductance",
        "InternalInfluence": "internal_influence",
        "LayerGradCam": "grad_cam",
        "LayerGradientXActivation": "input_x_gradient",
        "LayerIntegratedGradients": "integrated_gradients",
        "LayerDeepLift": "deep_lift",
        "LayerDeepLiftShap": "deep_lift_shap",
        "LayerGradientShap": "gradient_shap",
        "LayerFeatureAblation": "ablation",
        "LayerLRP": "lrp",
        "NeuronGradient": "saliency",
        "NeuronIntegratedGradients": "integrated_gradients",
        "NeuronConductance": "neuron_conductance",
        "NeuronDeepLift": "deep_lift",
        "NeuronDeepLiftShap": "deep_lift_shap",
        "NeuronGradientShap": "gradient_shap",
        "NeuronFeatureAblation": "ablation",
        "NeuronGuidedBackprop": "guided_backprop",
        "NeuronDeconvolution": "deconvolution",
    }
)
"""Class -> method. Those called Layer and Neuron are the method with `layer`, or with `layer` and `neuron`."""
_SHUFFLED = "it shuffles a feature among the examples of a batch, so each one's values depend on those beside it"
_TOKENS = "a language model is explained here as any other, by its tokens"
NOT_OFFERED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "FeaturePermutation": (_SHUFFLED, "ablation"),
        "LayerFeaturePermutation": (_SHUFFLED, "ablation"),
        "DataLoaderAttribution": ("it is a loop over a loader round another method, and `samples` is that", "ablation"),
        "LLMAttribution": (_TOKENS, "shapley"),
        "LLMGradientAttribution": (_TOKENS, "integrated_gradients"),
        "RemoteLLMAttribution": ("it asks a model on another machine, and a run has its own", "shapley"),
    }
)
"""Class -> why there is no such method, and the one to take instead."""


def here(name: str) -> tuple[str, str] | None:
    """What to say of a name of Captum's, and the method to take; None where Captum has no such class.

    Args:
        name: As somebody wrote it: `LayerDeepLift`, `deeplift` and `feature_permutation` are understood.
    """
    plain = {theirs.lower(): theirs for theirs in (*HERE, *NOT_OFFERED)}
    theirs = plain.get(name.replace("_", "").lower())
    if theirs is None:
        return None
    if theirs in NOT_OFFERED:
        why, instead = NOT_OFFERED[theirs]
        return f"Captum's {theirs} is not offered: {why}; take {instead}", instead
    kind = next((kind for kind in ("Layer", "Neuron") if theirs.startswith(kind)), "")
    asks = {"Layer": " with `layer`", "Neuron": " with `layer` and `neuron`"}.get(kind, "")
    return f"Captum's {theirs} is {HERE[theirs]} here{'' if theirs == 'LayerGradCam' else asks}", HERE[theirs]
