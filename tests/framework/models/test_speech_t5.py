import math

import pytest
import torch

from steelyard.models import SpeechT5
from steelyard.models.speech_t5 import Prenet, sinusoids, spelt
from steelyard.problem import Refused

TINY = {"width": 16, "layers": 1, "heads": 2, "mels": 16, "window": 128, "hop": 40}
NAMES = ("low", "middle", "high")


def made(**options):
    torch.manual_seed(0)
    return SpeechT5(**{"input_shape": (400,), "sample_rate": 4000, "names": NAMES, **TINY, **options}).eval()


def batch():
    return torch.rand(3, 400, generator=torch.Generator().manual_seed(1)) * 2 - 1, torch.arange(3)


def test_words_are_spelt_and_filled_up():
    assert spelt(("ab", "c")).tolist() == [[1, 2], [3, 0]]


def test_places_are_sines_and_cosines():
    wanted = [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]
    assert sinusoids(3, 4)[2].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("training", [False, True])
def test_an_example_sees_no_neighbour_nor_the_letters_that_fill_up(training):
    model, (samples, words) = made(prenet_dropout=0.0).train(training), batch()
    together = model(samples, words)
    for row in range(3):
        torch.testing.assert_close(model(samples[[row]], words[[row]])[0], together[row], atol=1e-4, rtol=1e-4)
    model.texts = model.texts[:, : len("high")]
    torch.testing.assert_close(model(samples[[2]], words[[2]])[0], together[2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_a_frame_is_foretold_from_the_steps_before_it_alone(reduction):
    model, (samples, words) = made(reduction=reduction), batch()
    samples = samples.requires_grad_()
    frame = 6
    (gradient,) = torch.autograd.grad(model(samples, words)[:, 0, :, frame].sum(), samples)
    last = frame // reduction * reduction - 1
    end = last * 40 + 64
    assert bool((gradient[:, end:] == 0).all())
    assert bool((gradient[:, :end] != 0).any())


@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_what_it_says_by_itself_is_what_it_foretells_of_what_it_said(reduction, monkeypatch):
    model, (_, words) = made(reduction=reduction), batch()
    said = model.spectrograms(words)
    assert said.shape == (3, 16, 11)
    # The frames before refining, as if they were those of a sound.
    known = []
    refined = model._refined
    monkeypatch.setattr(model, "_refined", lambda before: known.append(refined(before)[:, 0]) or refined(before))
    model.spectrograms(words)
    monkeypatch.setattr(model, "_refined", refined)
    monkeypatch.setattr(model.mel, "forward", lambda _: known[0])
    torch.testing.assert_close(model(torch.zeros(3, 400), words)[:, 1], said, atol=1e-4, rtol=1e-4)


def test_what_is_said_depends_on_the_letters_and_is_the_same_each_time():
    model, (_, words) = made(), batch()
    said = model.spectrograms(words)
    assert not torch.allclose(said[0], said[1], atol=1e-3)
    assert torch.equal(said, model.spectrograms(words))
    sounds = model.say(words, generator=torch.Generator().manual_seed(0))
    assert sounds.shape == (3, 400)
    assert float(sounds.abs().max()) <= 1


def test_every_trained_weight_is_reached():
    model, (samples, words) = made(), batch()
    model(samples, words).square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []


def test_dropout_of_the_frames_before_keeps_their_mean_and_rests_after_training():
    prenet = Prenet(mels=4, width=8, dropout=0.25)
    frames = torch.rand(2, 3, 4)
    assert torch.equal(prenet.eval()(frames), prenet(frames))
    assert not torch.equal(prenet.train()(frames), prenet(frames))


@pytest.mark.parametrize(
    ("options", "words", "fix"),
    [
        ({"input_shape": (1, 8, 8)}, r"model=speecht5 needs samples", "data=spoken_digits"),
        ({"heads": 3}, r"model\.heads=3", "model.width=96"),
        ({"reduction": 0}, r"model\.reduction is 0", "model.reduction=2"),
        ({"dropout": 1.0}, r"model\.dropout is 1", "model.dropout=0.5"),
        ({"prenet_dropout": -0.1}, r"model\.prenet_dropout is -0.1", "model.prenet_dropout=0.5"),
        ({"names": ("a", "")}, r"model\.names", "data=spoken_digits"),
    ],
)
def test_options_out_of_range_are_refused(options, words, fix):
    with pytest.raises(Refused, match=words) as caught:
        made(**options)
    assert caught.value.problems[0].fix == fix
