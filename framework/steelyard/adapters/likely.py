"""What a batch of strangers' data most likely holds: a guess for the override that a refusal has to paste."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from steelyard.adapters.audio import AudioAdapter
from steelyard.adapters.image import ImageAdapter
from steelyard.adapters.table import TableAdapter
from steelyard.adapters.text import TextAdapter
from steelyard.adapters.video import VideoAdapter
from steelyard.narrowing import is_mapping, is_sequence

LONG = 1000
"""So many numbers in a row are samples of a sound rather than columns of a table."""


def likely_modality(batch: Any) -> str | None:
    """The modality of the first tensor of a batch, by its kind and shape; None where they do not say."""
    inputs = _first(batch)
    if inputs is None or inputs.ndim < 2:
        return None
    if not inputs.is_floating_point() and inputs.ndim == 2:
        return TextAdapter.modality
    if inputs.ndim == 2:
        return AudioAdapter.modality if inputs.shape[1] > LONG else TableAdapter.modality
    return {3: AudioAdapter.modality, 4: ImageAdapter.modality, 5: VideoAdapter.modality}.get(inputs.ndim)


def _first(batch: Any) -> Tensor | None:
    if isinstance(batch, Tensor):
        return batch
    parts: Any = ()
    if is_mapping(batch):
        known: Mapping[Any, Any] = batch
        parts = known.values()
    elif is_sequence(batch):
        parts = batch
    return next((found for found in map(_first, parts) if found is not None), None)
