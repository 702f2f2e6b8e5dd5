"""What a model heard: a clip, and then nothing but the parts of it that spoke for the decision."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from steelyard.adapters import AudioAdapter
from steelyard.measurement import Sound
from steelyard.runs import Run
from steelyard.wav import wav
from steelyard_interpretability._captions import spoken
from steelyard_interpretability._deletion import importance
from steelyard_interpretability._explain import Shown
from steelyard_interpretability._samples import SPLIT
from steelyard_interpretability._side_by_side import in_words

CLIPS = 2
"""Examples that are heard: the first of those that are drawn."""
SHARE = 0.2
"""Of the windows that stay."""
PAUSE = 0.4
"""Seconds of silence between the clip and what is left of it."""
FADE = 0.003
"""Seconds over which a window comes and goes: a hard edge is heard as a click."""


def heard(run: Run, shown: Shown) -> Iterator[Sound]:
    """The clips of sounds whose rate is known, by the first method; nothing where a decision has no words."""
    adapter = run.adapter
    if not isinstance(adapter, AudioAdapter) or adapter.sample_rate is None:
        return
    rate, name = adapter.sample_rate, next(iter(shown.maps))
    worth = importance(shown.maps[name].attributions, units=shown.units)
    for row, sound in enumerate(shown.inputs[:CLIPS]):
        if not adapter.scoring.said(shown.decisions[row]):
            continue
        kept = best(worth[row])
        left = masked(sound, keep=kept[shown.units], fade=round(FADE * rate))
        yield Sound(
            name=f"heard_{row + 1}",
            title=f"Example {shown.samples.numbers[row]}, then only the windows that spoke most for the decision",
            wav=wav(torch.cat([sound, sound.new_zeros(round(PAUSE * rate)), left]), rate=rate),
            alt=f"{in_words(adapter, shown, row)} After {PAUSE:g} s of silence the {int(kept.sum())} of {len(kept)} "
            f"windows that spoke most for it by {spoken(name)}, and silence in place of the others.",
            split=SPLIT,
        )


def best(worth: Tensor) -> Tensor:
    """Which units (K,) are worth most, of those that speak for the decision at all: booleans."""
    count = max(1, math.ceil(SHARE * len(worth)))
    order = worth.argsort(descending=True, stable=True)[:count]
    kept = torch.zeros(len(worth), dtype=torch.bool)
    kept[order] = worth[order] > 0
    return kept


def masked(sound: Tensor, *, keep: Tensor, fade: int) -> Tensor:
    """A sound (T,) with silence where it is not kept (T,), and `fade` samples of a ramp at each edge within."""
    there = keep.to(sound.dtype)
    if fade < 1:
        return sound * there
    width = 2 * fade + 1
    # Inside what is kept the ramp begins at its edge, so that nothing of the rest is heard.
    inner = -torch.nn.functional.max_pool1d(-there[None, None], width, stride=1, padding=fade)
    smooth = torch.nn.functional.avg_pool1d(inner, width, stride=1, padding=fade, count_include_pad=False)
    return sound * smooth[0, 0] * there
