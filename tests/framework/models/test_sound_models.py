import numpy as np
import pytest
import torch

from steelyard.models import KeywordCNN, SpeechCNN
from steelyard.models.disguise import Disguise
from steelyard.models.hearing import loudness
from steelyard.models.keyword_cnn import SoundEmbedding
from steelyard.models.mel import LogMel, mel_filters
from steelyard.problem import Refused


@pytest.fixture
def samples():
    return torch.rand(3, 4000, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("rate", "mels", "window", "hop"), [(8000, 40, 256, 80), (16000, 80, 400, 160)])
def test_mel_is_that_of_transformers(samples, rate, mels, window, hop):
    audio = pytest.importorskip("transformers.audio_utils")
    bank = audio.mel_filter_bank(window // 2 + 1, mels, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    np.testing.assert_allclose(mel_filters(sample_rate=rate, mels=mels, bins=window // 2 + 1).numpy(), bank, atol=1e-6)
    module = LogMel(sample_rate=rate, mels=mels, window=window, hop=hop, floor=1e-6)
    found = module(samples)
    assert found.shape == (3, mels, 1 + 4000 // hop)
    for row, wanted in zip(found, samples.numpy(), strict=True):
        energy = audio.spectrogram(
            wanted.astype(np.float64),
            audio.window_function(window, "hann"),
            frame_length=window,
            hop_length=hop,
            power=2.0,
            center=True,
            pad_mode="constant",
            mel_filters=bank,
            mel_floor=0.0,
        )
        np.testing.assert_allclose(row.exp().numpy(), energy + 1e-6, rtol=2e-3, atol=1e-4)


def test_mel_is_differentiable_also_on_silence():
    module = LogMel(sample_rate=8000, mels=8, window=64, hop=32).double()
    module.hann, module.filters = module.hann.double(), module.filters.double()
    some = torch.rand(1, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(module, (some,))
    silence = torch.zeros(2, 4000, requires_grad=True)
    LogMel(sample_rate=8000)(silence).sum().backward()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hop": 0}, "model.hop is 0"),
        ({"hop": 300}, "model.hop is 300"),
        ({"window": 255}, "model.window is 255"),
        ({"mels": 0}, "model.mels is 0"),
        ({"mels": 200}, "model.mels=200 is too many"),
        ({"floor": 0.0}, "model.floor is 0"),
    ],
)
def test_a_mel_that_cannot_be_is_refused(options, said):
    with pytest.raises(Refused, match=said):
        LogMel(sample_rate=8000, **options)


def cnn(**options):
    torch.manual_seed(0)
    return KeywordCNN(**{"input_shape": (4000,), "classes": 5, "sample_rate": 8000, "channels": (4, 8), **options})


def test_an_example_does_not_see_its_neighbours(samples):
    model = cnn()
    together = model(samples)
    assert together.shape == (3, 5)
    for row, sound in zip(together, samples, strict=True):
        torch.testing.assert_close(model(sound[None])[0], row)


def test_loudness_hardly_counts(samples):
    model = cnn()
    torch.testing.assert_close(model(samples), model(0.3 * samples), atol=1e-2, rtol=1e-2)


def test_silence_has_an_answer_and_a_gradient():
    silence = torch.zeros(2, 4000, requires_grad=True)
    made = cnn()(silence)
    made.sum().backward()
    assert made.isfinite().all()
    assert silence.grad.isfinite().all()


def test_the_embedding_says_how_wide_it_is(samples):
    made = SoundEmbedding(
        input_shape=(4000,), sample_rate=8000, channels=(4, 6, 10), mels=21, window=256, hop=80, dropout=0.1
    )
    assert made(samples).shape == (3, made.width)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_shape": (1, 8, 8)}, r"model=keyword_cnn needs samples \(T,\), got \(1, 8, 8\)"),
        ({"channels": ()}, "model.channels is"),
        ({"channels": (4, 0)}, "model.channels is"),
        ({"dropout": 1.0}, "model.dropout is 1"),
    ],
)
def test_a_network_that_cannot_be_is_refused(options, said):
    with pytest.raises(Refused, match=said):
        cnn(**options)


def test_a_disguise_is_put_on_in_training_alone():
    mels = torch.randn(50, 20, 30, generator=torch.Generator().manual_seed(0))
    module = Disguise(shift=2, masks=1)
    assert module.eval()(mels) is mels
    torch.manual_seed(0)
    found = module.train()(mels)
    assert not torch.equal(found, mels)
    plain = Disguise(shift=0, masks=0)
    assert torch.equal(plain(mels), mels)
    with pytest.raises(Refused, match=r"model\.shift=-1"):
        Disguise(shift=-1, masks=0)


def test_a_shifted_voice_is_the_same_higher_or_lower():
    mels = torch.arange(20.0)[None, :, None].expand(200, 20, 3)
    torch.manual_seed(0)
    found = Disguise(shift=2, masks=0)(mels)
    by = mels[:, 10, 0] - found[:, 10, 0]
    assert {*by.tolist()} == {-2.0, -1.0, 0.0, 1.0, 2.0}
    for row, up in zip(found, by, strict=True):
        assert row[:, 0].tolist() == (torch.arange(20.0) - up).clamp(0, 19).tolist()


def test_masks_hide_one_stripe_of_bands_and_one_of_frames():
    torch.manual_seed(0)
    hidden = Disguise(shift=0, masks=1)(torch.ones(200, 20, 30)) == 0
    bands, frames = hidden.all(dim=2), hidden.all(dim=1)
    assert torch.equal(hidden, bands[:, :, None] | frames[:, None, :])
    for stripes, widest in ((bands, 5), (frames, 7)):
        edges = stripes.int().diff(dim=1).abs().sum(dim=1)
        assert int(edges.max()) <= 2
        assert int(stripes.sum(dim=1).max()) <= widest
        assert float(stripes.double().mean()) == pytest.approx(0.1, abs=0.02)


def test_a_model_in_disguise_learns_and_answers_plainly(samples):
    model = cnn(shift=2, masks=1)
    assert not torch.equal(model(samples), model(samples))
    model.eval()
    assert torch.equal(model(samples), model(samples))


@pytest.fixture
def between_silences(samples):
    return torch.nn.functional.pad(0.2 * samples, (4000, 4000))


def test_frames_are_as_loud_as_the_slow_way_says(between_silences):
    mels = LogMel(sample_rate=8000, mels=8)(between_silences)
    energy = (mels.double().exp() - 1e-4).clamp(min=0).mean(dim=1)
    found = loudness(mels, floor=1e-4, quiet=0.01, stride=2)
    assert found.shape == (3, (mels.shape[2] + 1) // 2)
    for row, frames in zip(found, energy, strict=True):
        for at, value in enumerate(row):
            near = frames[max(0, 2 * at - 2) : 2 * at + 3].mean()
            torch.testing.assert_close(
                value.double(), near / (near + 0.01 * frames.mean() + 1e-4), rtol=1e-4, atol=1e-6
            )


def test_silence_is_silent_speech_is_loud_and_the_volume_does_not_count(between_silences):
    module = LogMel(sample_rate=8000)
    found = [
        loudness(module(volume * between_silences), floor=1e-4, quiet=0.01, stride=2) for volume in (1.0, 0.5, 0.0)
    ]
    assert found[0][:, :20].max() < 1e-6
    assert found[0][:, 30:45].min() > 0.9
    torch.testing.assert_close(found[1], found[0], atol=2e-3, rtol=0)
    assert found[2].max() < 1e-6


def test_a_silent_frame_says_nothing_but_the_blank(between_silences):
    torch.manual_seed(0)
    model = SpeechCNN(input_shape=(12000,), classes=29, sample_rate=8000, longest=4, width=16, layers=2).eval()
    said = model(between_silences).softmax(dim=2)
    assert said[:, :20, 1:].sum(dim=2).max() < 1e-3
    assert said[:, 30:45, 1:].sum(dim=2).mean() > 0.5
    silence = torch.zeros(2, 12000, requires_grad=True)
    logits = model(silence)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert silence.grad.isfinite().all()
