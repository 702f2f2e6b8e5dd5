"""The private touches of torch in the core (seen on torch 2.13.0; tests name them).

torch registers hooks in private dictionaries and offers no public way to count them; the type of tensors without
numbers, which `steelyard.estimating` works with, is private too. Buffers can be asked for one by one, at 20 times the
time that their dictionary takes.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

HOOK_DICTIONARIES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def hook_count(module: nn.Module) -> int:
    """Forward, backward and state-dict hooks on this module, without its children."""
    return sum(len(vars(module)[name]) for name in HOOK_DICTIONARIES)


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor has no numbers, only a shape."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def buffers_of(module: nn.Module) -> Mapping[str, Tensor | None]:
    """The buffers of this module alone, as they are whenever one looks."""
    return vars(module)["_buffers"]
