# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
"""The only place of the vision models that touches `transformers`."""

import math
from typing import Any

from torch import nn

from steelyard.extras import require
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


def layered(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    """The layers of one kind, in order."""
    return [module for module in model.modules() if isinstance(module, kind)]
