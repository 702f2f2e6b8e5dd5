"""Sound as samples in [-1, 1], read from any file that libsndfile knows, at the rate that is asked for."""

import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.problem import refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """One channel of sound.

    Attributes:
        samples: (T,) float32 in [-1, 1].
        rate: Samples a second.
    """

    samples: NDArray[np.float32]
    rate: int


def read_sound(path: Path, *, rate: int, resampling: bool = True) -> Sound:
    """One file as one channel, the mean of its channels, at `rate` samples a second.

    Args:
        path: A file of WAV, FLAC, Ogg or whatever else libsndfile reads.
        rate: Samples a second that are wanted.
        resampling: Whether another rate is changed to it, or refused.

    Raises:
        Refused: If the file cannot be read, is empty, holds what is no number, or has another rate and may not be
            resampled.
    """
    try:
        soundfile: Any = import_module("soundfile")
    except ImportError as error:
        raise refuse(
            "reading audio files needs soundfile: pip install 'steelyard[speech]'", fix="data=spoken_digits"
        ) from error
    try:
        content, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, TypeError) as error:
        raise refuse(f"{path} cannot be read as audio: {error}", fix="data.root=FOLDER") from error
    if not len(content):
        raise refuse(f"{path} is empty: it holds no samples", fix="data.root=FOLDER")
    samples: NDArray[np.float32] = content.mean(axis=1)
    if not np.isfinite(samples).all():
        raise refuse(f"{path} holds samples that are no finite numbers", fix="data.root=FOLDER")
    if found != rate and not resampling:
        raise refuse(
            f"{path} has {found} samples a second, data.sample_rate is {rate}",
            fix=f"data.sample_rate={found} data.resampling=true",
        )
    return resample(Sound(samples=np.clip(samples, -1, 1), rate=int(found)), rate=rate)


def resample(sound: Sound, *, rate: int) -> Sound:
    """The same sound at another rate, filtered so that what does not fit under half of it does not fold back."""
    if sound.rate == rate:
        return sound
    signal: Any = import_module("scipy.signal")
    common = math.gcd(rate, sound.rate)
    samples = signal.resample_poly(sound.samples.astype(np.float64), rate // common, sound.rate // common)
    return Sound(samples=np.clip(samples, -1, 1).astype(np.float32), rate=rate)


def fitted(samples: NDArray[Any], *, length: int) -> NDArray[Any]:
    """Exactly `length` samples: silence round what is shorter, the middle of what is longer."""
    spare = length - len(samples)
    if spare >= 0:
        return np.pad(samples, (spare // 2, spare - spare // 2))
    start = -spare // 2
    return samples[start : start + length]
