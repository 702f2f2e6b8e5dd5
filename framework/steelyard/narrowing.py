"""Type guards for values from untyped places: configs, checkpoints, batches."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """A mapping with words as keys, as all of ours have."""
    return isinstance(value, Mapping)


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """A list or tuple, plain or OmegaConf's; no text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
