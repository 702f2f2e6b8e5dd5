# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place of the vision models that touches `transformers`."""

import math
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from steelyard.extras import require
from steelyard.models._pretrained import pretrained
from steelyard.problem import refuse


def made(name: str, config: str, **options: Any) -> Any:
    """A model of transformers with random weights.

    Args:
        name: Its class.
        config: The class of its config.
        options: What the config takes.

    Raises:
        Refused: If the library is missing, or the config does not fit together.
    """
    require("transformers", extra="vision")
    import transformers

    try:
        return getattr(transformers, name)(getattr(transformers, config)(**options))
    except ValueError as error:
        raise refuse(f"the model cannot be made: {error}", fix="model.width=64 model.heads=4") from error


def check_kind(model: Any, kind: str, *, place: str) -> None:
    """Refuses a stored model of another kind, e.g. a vision transformer where a ResNet is meant."""
    if model.config.model_type != kind:
        raise refuse(
            f"model.pretrained={place} is of the kind {model.config.model_type}, not {kind}",
            fix="model.pretrained=FOLDER",
        )


def check_channels(model: Any, channels: int, *, place: str) -> None:
    """Refuses a stored model for pictures of another number of channels."""
    if model.config.num_channels != channels:
        raise refuse(
            f"model.pretrained={place} takes pictures of {model.config.num_channels} channels, the data has {channels}",
            fix=f"data.channels={model.config.num_channels}",
        )


def backbone_config(name: str, **options: Any) -> Any:
    """A config to put into another one."""
    require("transformers", extra="vision")
    import transformers

    return getattr(transformers, name)(**options)


def group_normed(model: nn.Module) -> None:
    """Replaces every BatchNorm2d by a GroupNorm of the same scales, which looks at one example at a time."""
    for name, module in [*model.named_modules()]:
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            parent, _, own = name.rpartition(".")
            made = nn.GroupNorm(math.gcd(8, channels), channels, eps=module.eps)
            made.load_state_dict({"weight": module.weight, "bias": module.bias})
            setattr(model.get_submodule(parent), own, made)


def frozen_normed(model: nn.Module) -> None:
    """Replaces every BatchNorm2d by what it does in evaluation, which training leaves as it is."""
    for name, module in [*model.named_modules()]:
        if isinstance(module, nn.BatchNorm2d):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, FixedNorm(module))


@final
class FixedNorm(nn.Module):
    """The fixed scale and shift of each channel that a trained BatchNorm2d comes to."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", (norm.bias.detach() - scale * norm.running_mean)[:, None, None])

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, channels, height, width)."""
        return self.scale * inputs + self.shift


def unit_normed(model: nn.Module) -> None:
    """Lets every BatchNorm2d begin with scale 1, where a model of transformers would begin near 0."""
    for norm in layered(model, nn.BatchNorm2d):
        assert isinstance(norm, nn.BatchNorm2d)
        norm.reset_parameters()


def layered(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    """The layers of one kind, in order."""
    return [module for module in model.modules() if isinstance(module, kind)]


def detector(
    *,
    channels: int,
    classes: int,
    widths: Sequence[int],
    depths: Sequence[int],
    width: int,
    layers: int,
    heads: int,
    queries: int,
) -> Any:
    """A small RT-DETR with random weights on the maps of all stages of its backbone but the first.

    See `steelyard.models.rt_detr.RTDETR`.
    """
    levels = len(widths) - 1
    backbone = backbone_config(
        "RTDetrResNetConfig",
        num_channels=channels,
        embedding_size=widths[0],
        hidden_sizes=[*widths],
        depths=[*depths],
        layer_type="basic",
        out_indices=[*range(2, len(widths) + 1)],
    )
    network = made(
        "RTDetrForObjectDetection",
        "RTDetrConfig",
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,
        encoder_in_channels=[*widths[1:]],
        feat_strides=[8 * 2**level for level in range(levels)],
        encode_proj_layers=[levels - 1],
        encoder_hidden_dim=width,
        d_model=width,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        decoder_in_channels=[width] * levels,
        num_feature_levels=levels,
        decoder_layers=layers,
        num_queries=queries,
        num_denoising=0,
        num_labels=classes,
        attn_implementation="eager",
    )
    unit_normed(network)
    return network


def stored_detector(place: str, *, channels: int, classes: int) -> Any:
    """A stored RT-DETR; its last layers begin anew where it knows another number of classes.

    Raises:
        Refused: If it cannot be loaded safely, or is something else.
    """
    network = pretrained(
        place,
        of="AutoModelForObjectDetection",
        extra="vision",
        fresh=("model.decoder.class_embed.", "model.enc_score_head."),
        num_labels=classes,
        num_denoising=0,
        eval_size=None,
        freeze_backbone_batch_norms=False,
    )
    check_kind(network, "rt_detr", place=place)
    check_channels(network.model.backbone.model, channels, place=place)
    return network
