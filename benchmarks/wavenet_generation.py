"""A second of speech from a WaveNet: what a layer computed once is kept, against computing it again.

One process, CPU time, one thread, interleaved. Run: python benchmarks/wavenet_generation.py

Goal, at 1 s of 8 kHz: at least 20 times as fast as the whole history again for every sample, and 8 times as fast as
the receptive field again for every sample. Cached generation is timed in full. The other two are timed at the middle of
each of 40 equal parts of the second, and the mean is taken for all 8,000 samples: the receptive field costs the same at
every sample once it is full, and the whole history grows in a line. Their inputs are ready made: drawing a level counts
against the cached side only.
"""

import os
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from _timing import clocked
from torch import Tensor

from steelyard.models.wavenet import WaveNet
from steelyard.models.wavenet_generation import generate

RATE = 8000
PARTS = 40
ROUNDS = 5


def again(model: WaveNet, past: Tensor, words: Tensor, *, most: int) -> float:
    """Seconds for a second of sound, each sample from the `most` samples before it, from the middle of each part."""
    middles = [(2 * part + 1) * RATE // (2 * PARTS) for part in range(PARTS)]
    seconds = [clocked(lambda at=at: model.continued(past[:, max(0, at - most) : at + 1], words)) for at in middles]
    return sum(seconds) / PARTS * RATE


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = WaveNet(classes=10)
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"{weights:,} weights, receptive field {model.receptive_field}, 1 s of {RATE} Hz")
    for count in (1, 16):
        words = torch.arange(count) % 10
        past = torch.rand(count, RATE) * 2 - 1
        rows: dict[str, list[float]] = {"cached": [], "whole history": [], "receptive field": []}
        for _ in range(ROUNDS if count == 1 else 2):
            rows["cached"].append(clocked(lambda words=words: generate(model, length=RATE, condition=words)))
            rows["whole history"].append(again(model, past, words, most=RATE))
            rows["receptive field"].append(again(model, past, words, most=model.receptive_field - 1))
        print(f"{count} waveform{'s' if count > 1 else ''} side by side:")
        for name, seconds in rows.items():
            times = median(other / own for own, other in zip(rows["cached"], seconds, strict=True))
            print(f"  {name}: {median(seconds):.2f} s CPU, {times:.1f} times cached")


if __name__ == "__main__":
    main()
