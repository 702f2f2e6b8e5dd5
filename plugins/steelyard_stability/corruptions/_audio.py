# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What microphones, rooms and lines do to sounds (B, T)."""

import math

import torch
from torch import Tensor

from steelyard_stability.corruptions._dice import Dice

SNR = (30.0, 20.0, 10.0, 5.0, 0.0)
"""Signal over noise, in decibels of mean power."""
GAIN = (3.0, 6.0, 10.0, 15.0, 20.0)
"""Louder or quieter, in decibels of amplitude."""
CLIPPED = (0.7, 0.5, 0.3, 0.2, 0.1)
"""Share of the highest sample at which the sound is cut."""
BAND = (0.5, 0.35, 0.25, 0.15, 0.1)
"""Share of the band from 0 to half the sample rate that is left."""
SHIFT = (0.02, 0.05, 0.1, 0.15, 0.2)
"""Share of the length."""
REVERBERATION = (0.1, 0.2, 0.4, 0.7, 1.2)
"""Seconds in which the echo falls by 60 dB."""
WET = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Echo beside the sound, by amplitude."""
UNKNOWN_RATE = 16000
DECADE = 60 / 20 * math.log(10)
"""What 60 dB are, as a power of e."""


def noise(sounds: Tensor, severity: int, dice: Dice, *, rate: int | None) -> Tensor:
    """White noise at an exact ratio; silence stays silent, since nothing is any decibels above it."""
    del rate
    hiss = dice.normal(sounds.shape[1]).to(sounds)
    ratio = 10 ** (-SNR[severity - 1] / 20)
    return sounds + hiss * (ratio * _loudness(sounds) / _loudness(hiss))


def gain(sounds: Tensor, severity: int, dice: Dice, *, rate: int | None) -> Tensor:
    """Quieter, or louder as long as the highest sample stays within 1: a level, not a distortion."""
    del rate
    ways = dice.whole(low=0, high=1)[:, None].to(sounds) * 2 - 1
    factors = 10 ** (ways * GAIN[severity - 1] / 20)
    too_loud = (factors > 1) & (sounds.abs().amax(dim=1, keepdim=True) * factors > 1)
    return sounds * torch.where(too_loud, 1 / factors, factors)


def clipping(sounds: Tensor, severity: int, dice: Dice, *, rate: int | None) -> Tensor:
    """Cut at a share of the highest sample, as by an overdriven input."""
    del dice, rate
    edge = sounds.abs().amax(dim=1, keepdim=True) * CLIPPED[severity - 1]
    return torch.maximum(torch.minimum(sounds, edge), -edge)


def band_limit(sounds: Tensor, severity: int, dice: Dice, *, rate: int | None) -> Tensor:
    """Nothing above a frequency, as on a telephone line."""
    del dice, rate
    length = sounds.shape[1]
    kept = (torch.arange(length // 2 + 1) <= BAND[severity - 1] * (length // 2)).to(sounds)
    return torch.stack([torch.fft.irfft(torch.fft.rfft(sound) * kept, n=length) for sound in sounds])


def shift(sounds: Tensor, severity: int, dice: Dice, *, rate: int | None) -> Tensor:
    """Earlier or later, with silence where nothing is left."""
    del rate
    length = sounds.shape[1]
    far = max(1, round(SHIFT[severity - 1] * length))
    steps = (dice.whole(low=0, high=1)[:, None] * 2 - 1) * far
    places = torch.arange(length) - steps
    there = ((places >= 0) & (places < length)).to(sounds)
    return sounds.gather(1, places.clamp(0, length - 1).to(sounds.device)) * there


def reverberation(sounds: Tensor, severity: int, dice: Dice, *, rate: int | None) -> Tensor:
    """An echo of noise that falls exponentially, with the power of the sound kept (Polack 1988)."""
    length, known = sounds.shape[1], rate or UNKNOWN_RATE
    times = torch.arange(length).to(sounds) / known
    tail = dice.normal(length).to(sounds) * torch.exp(-DECADE * times / REVERBERATION[severity - 1])
    tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt()
    wet = WET[severity - 1]
    whole = 2 * length
    rows = [
        torch.fft.irfft(torch.fft.rfft(sound, n=whole) * torch.fft.rfft(echo, n=whole), n=whole)[:length]
        for sound, echo in zip(sounds, tail, strict=True)
    ]
    mixed = (1 - wet) * sounds + wet * torch.stack(rows)
    return mixed * (_loudness(sounds) / _loudness(mixed).clamp(min=1e-12))


def _loudness(sounds: Tensor) -> Tensor:
    """Root of the mean power (B, 1), sound by sound."""
    return torch.stack([sound.double().square().mean().sqrt() for sound in sounds])[:, None].to(sounds)
