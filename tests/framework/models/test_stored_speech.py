import numpy as np
import pytest
import torch

from steelyard.models import SpeechT5, Whisper
from steelyard.models.whisper_mel import WhisperMel
from steelyard.problem import Refused

transformers = pytest.importorskip("transformers")

NAMES = ("low", "middle", "high")


@pytest.fixture
def samples():
    return torch.rand(2, 4000, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=50,
        num_mel_bins=80,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=50,
        max_target_positions=8,
        pad_token_id=1,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=2,
        suppress_tokens=[3],
        begin_suppress_tokens=None,
    )
    place = tmp_path_factory.mktemp("stored") / "whisper"
    transformers.WhisperForConditionalGeneration(config).save_pretrained(place)
    return place


def listening(place, **options):
    return Whisper(
        **{"input_shape": (4000,), "classes": 29, "sample_rate": 16000, "longest": 4, **options}, pretrained=str(place)
    )


@pytest.mark.parametrize("loud", [1.0, 1e-6, 0.0])
def test_a_stored_whisper_hears_what_its_own_library_lets_it_hear(samples, loud):
    own = transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    for row in samples * loud:
        wanted = own(row.numpy(), sampling_rate=16000, return_tensors="np").input_features[0]
        found = WhisperMel(sample_rate=16000, mels=80, frames=100, longest=4000)(row[None])[0]
        np.testing.assert_allclose(found.numpy(), wanted, atol=2e-3)


def test_what_it_hears_has_a_gradient():
    given = torch.rand(1, 4000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    WhisperMel(sample_rate=16000, mels=80, frames=50, longest=4000)(given).square().sum().backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()
    assert bool(given.grad.any())


def test_a_stored_whisper_keeps_its_weights_and_writes_the_tokens_of_the_data(whisper, samples):
    model = listening(whisper).eval()
    stored = transformers.WhisperForConditionalGeneration.from_pretrained(whisper)
    fresh = ("model.decoder.embed_tokens", "proj_out")
    kept = {name: weight for name, weight in stored.state_dict().items() if not name.startswith(fresh)}
    for name, weight in kept.items():
        torch.testing.assert_close(model.network.state_dict()[name], weight)
    texts = torch.tensor([[5, 6, 0], [7, 0, 0]])
    assert model(samples, texts).shape == (2, 3, 29)
    written = model.write(samples, beams=2)
    assert written.shape[1] <= 5
    assert int(written.max()) < 29
    alone = model(samples[[1]], texts[[1]])
    torch.testing.assert_close(alone[0], model(samples, texts)[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "said", "fix"),
    [
        ({"sample_rate": 8000}, "16000 samples a second, the data have 8000", "data.sample_rate=16000"),
        ({"input_shape": (32000,)}, "sounds have 2 seconds, the model hears 1", "data.seconds=1"),
        ({"longest": 8}, "texts have up to 8 tokens", "model.pretrained=null"),
    ],
)
def test_data_that_a_stored_whisper_cannot_hear_or_write_are_refused(whisper, options, said, fix):
    with pytest.raises(Refused, match=said) as caught:
        listening(whisper, **options)
    assert caught.value.problems[0].fix == fix


def test_a_stored_speaker_keeps_its_transformer_and_says_the_words_of_the_data(tmp_path, samples):
    torch.manual_seed(0)
    config = transformers.SpeechT5Config(
        vocab_size=40,
        hidden_size=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        speech_decoder_prenet_units=16,
        speech_decoder_postnet_units=16,
        num_mel_bins=20,
        reduction_factor=2,
        max_text_positions=30,
    )
    stored = transformers.SpeechT5ForTextToSpeech(config)
    stored.save_pretrained(tmp_path)
    model = SpeechT5(
        input_shape=(4000,), sample_rate=8000, names=NAMES, window=256, hop=80, pretrained=str(tmp_path)
    ).eval()
    kept = [
        name
        for name in model.network.state_dict()
        if not name.startswith(("speecht5.encoder.prenet", "speecht5.decoder.prenet"))
    ]
    assert any(name.startswith("speecht5.decoder.wrapped_decoder") for name in kept)
    for name in kept:
        torch.testing.assert_close(model.network.state_dict()[name], stored.state_dict()[name])
    both = model(samples, torch.tensor([0, 2]))
    assert both.shape == (2, 2, 20, 51)
    torch.testing.assert_close(model(samples[[1]], torch.tensor([2]))[0], both[1], atol=1e-4, rtol=1e-4)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.json").write_text((tmp_path / "config.json").read_text())
    torch.save(stored.state_dict(), bad / "pytorch_model.bin")
    with pytest.raises(Refused, match=r"pytorch_model.bin is a pickle"):
        SpeechT5(input_shape=(4000,), sample_rate=8000, names=NAMES, pretrained=str(bad))
