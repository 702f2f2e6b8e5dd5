"""How many numbers a model is made of."""

from torch import nn


def parameters_in(module: nn.Module) -> int:
    """Its parameters, and what the `packed_weights` of a layer says that it keeps in few bits, unseen by torch."""
    packed = sum(int(getattr(part, "packed_weights", 0)) for part in module.modules())
    return packed + sum(weight.numel() for weight in module.parameters())
