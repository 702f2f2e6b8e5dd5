# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""From a mel spectrogram back to a sound."""

import torch
from torch import Tensor

from steelyard.models.mel import LogMel

TINY = 1e-9
"""Keeps a division by nothing finite."""


def sound_of(mels: Tensor, *, mel: LogMel, length: int, generator: torch.Generator, rounds: int = 60) -> Tensor:
    """A sound (B, length) whose log-mel spectrogram is close to `mels` (B, mels, frames).

    Args:
        mels: As `mel` makes it.
        mel: Its maker.
        length: Samples of the sound.
        generator: Of the phases that it starts from, on the device of `mels`.
        rounds: Of Griffin and Lim.
    """
    return griffin_lim(
        energies(mels, mel=mel).sqrt(),
        window=mel.hann,
        hop=mel.hop,
        length=length,
        generator=generator,
        rounds=rounds,
    )


def energies(mels: Tensor, *, mel: LogMel, rounds: int = 100) -> Tensor:
    """Energies (B, bins, frames), none below 0, that the mel filters take to `mels` (B, mels, frames) as best they can.

    Multiplicative updates of non-negative least squares (Lee and Seung 2001): each makes the squares no larger.
    """
    wanted = (mels.exp() - mel.floor).clamp(min=0).transpose(1, 2)
    back = mel.filters.T
    goal = wanted @ back
    found = goal.clone()
    for _ in range(rounds):
        found = found * goal / (found @ mel.filters @ back + TINY)
    return found.transpose(1, 2)


def griffin_lim(
    magnitudes: Tensor, *, window: Tensor, hop: int, length: int, generator: torch.Generator, rounds: int = 60
) -> Tensor:
    """A sound (B, length) whose Fourier magnitudes are close to these (B, bins, frames).

    The phases begin at random; each round keeps those of the sound that the spectrum gives, and puts the wanted
    magnitudes back (Griffin and Lim 1984). The distance from them never grows.

    Args:
        magnitudes: Of frames centred on every `hop`-th sample, with silence around the sound.
        window: (W,), which is also the length of the transform.
        hop: Samples from one frame to the next.
        length: Samples of the sound.
        generator: Of the first phases, on the device of `magnitudes`.
        rounds: 0 keeps the first phases.
    """
    drawn = torch.rand(magnitudes.shape, generator=generator, device=magnitudes.device)
    phases = torch.polar(torch.ones_like(drawn), 2 * torch.pi * drawn)
    size = len(window)
    for _ in range(rounds):
        sound = torch.istft(magnitudes * phases, size, hop, window=window, length=length)
        spectrum = torch.stft(sound, size, hop, window=window, pad_mode="constant", return_complex=True)
        phases = spectrum / spectrum.abs().clamp(min=TINY)
    return torch.istft(magnitudes * phases, size, hop, window=window, length=length)
