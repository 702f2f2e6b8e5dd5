import torch

from steelyard.models.griffin_lim import energies, griffin_lim, sound_of
from steelyard.models.mel import LogMel

RATE = 4000
MEL = LogMel(sample_rate=RATE, mels=24, window=128, hop=32)


def tone(hertz, length=800):
    return 0.5 * torch.sin(2 * torch.pi * torch.tensor(hertz)[:, None] * torch.arange(length) / RATE)


def drawing():
    return torch.Generator().manual_seed(0)


def magnitudes(sounds):
    return torch.stft(sounds, 128, 32, window=MEL.hann, pad_mode="constant", return_complex=True).abs()


def test_the_spectrum_comes_nearer_with_every_round():
    wanted = magnitudes(tone([300.0]) + tone([900.0]) * torch.linspace(0, 1, 800))
    options = {"window": MEL.hann, "hop": 32, "length": 800}
    far = [
        float((magnitudes(griffin_lim(wanted, **options, generator=drawing(), rounds=rounds)) - wanted).norm())
        for rounds in (0, 1, 4, 16, 64)
    ]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 0.2 * float(wanted.norm())
    assert far[-1] < 0.5 * far[0]


def test_energies_are_no_less_than_nothing_and_have_the_bands_they_came_from():
    mels = MEL(tone([300.0, 900.0]))
    found = energies(mels, mel=MEL)
    assert found.shape == (2, 65, 26)
    assert float(found.min()) >= 0
    wanted = (mels.exp() - MEL.floor).clamp(min=0)
    again = (found.transpose(1, 2) @ MEL.filters).transpose(1, 2)
    assert float((again - wanted).norm()) < 0.02 * float(wanted.norm())


def test_a_tone_comes_back_with_its_pitch_and_loudness():
    sounds = tone([300.0, 900.0])
    found = sound_of(MEL(sounds), mel=MEL, length=800, generator=drawing())
    assert found.shape == sounds.shape
    pitch = torch.fft.rfft(found).abs().argmax(dim=1) * RATE / 800
    torch.testing.assert_close(pitch, torch.tensor([300.0, 900.0]), atol=25, rtol=0)
    loud, real = (part.square().mean(dim=1).sqrt() for part in (found, sounds))
    torch.testing.assert_close(loud, real, rtol=0.15, atol=0)


def test_silence_stays_silent():
    found = sound_of(MEL(torch.zeros(1, 400)), mel=MEL, length=400, generator=drawing())
    assert float(found.abs().max()) < 1e-3
