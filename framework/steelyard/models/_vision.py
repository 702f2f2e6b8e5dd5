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


def backbone_config(name: str, **options: Any) -> Any:
    """A config to put into another one."""
    require("transformers", extra="vision")
    import transformers

    return getattr(transformers, name)(**options)


def group_normed(model: nn.Module) -> None:
    """Replaces every BatchNorm2d by a GroupNorm, which looks at one example at a time."""
    for name, module in [*model.named_modules()]:
        if isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, nn.GroupNorm(math.gcd(8, channels), channels, eps=module.eps))


def layered(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    """The layers of one kind, in order."""
    return [module for module in model.modules() if isinstance(module, kind)]
