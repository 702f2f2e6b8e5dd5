import itertools
import math
from collections import defaultdict
from functools import partial

import pytest
import torch
from torch import nn
from torchmetrics.functional.text import char_error_rate, word_error_rate

from small_runs import Points, frozen
from steelyard.adapters import Facts, adapter_for
from steelyard.adapters.ctc_scoring import collapsed
from steelyard.data.alphabet import Alphabet
from steelyard.measurement import Table
from steelyard.models import SpeechCNN, Wav2Vec2, Whisper
from steelyard.problem import Refused
from steelyard.tasks import CTCRecognition, Dictation
from steelyard.tasks._ctc_beams import best_text
from steelyard.tasks._word_errors import error_rate
from steelyard.tasks.hearing import Heard, character_errors, word_errors

ADAM = partial(torch.optim.Adam, lr=0.01)
LETTERS = Alphabet()
TEXTS = torch.tensor([[5, 6, 0, -100], [7, 0, -100, -100], [8, 8, 9, 0]])


@pytest.fixture
def samples():
    return 0.3 * torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))


def made(name):
    torch.manual_seed(0)
    shared = {"input_shape": (4000,), "classes": 29, "longest": 4}
    match name:
        case "speech_cnn":
            return CTCRecognition(model=SpeechCNN(**shared, sample_rate=8000, width=16, layers=2), optimizer=ADAM)
        case "wav2vec2":
            pytest.importorskip("transformers")
            return CTCRecognition(model=Wav2Vec2(**shared, width=32, layers=1, channels=8), optimizer=ADAM)
        case _:
            pytest.importorskip("transformers")
            return Dictation(model=Whisper(**shared, sample_rate=8000, width=16, layers=1), optimizer=ADAM)


MODELS = ("speech_cnn", "wav2vec2", "whisper")


@pytest.mark.parametrize("name", MODELS)
def test_an_utterance_is_heard_the_same_whoever_stands_beside_it(name, samples):
    task = made(name).eval()
    losses, heard = task.example_losses((samples, TEXTS)), task.transcribe(samples)
    assert losses.shape == (3,)
    assert len(heard) == 3
    for at in range(3):
        alone = samples[at : at + 1], TEXTS[at : at + 1]
        torch.testing.assert_close(task.example_losses(alone)[0], losses[at], rtol=1e-4, atol=1e-4)
        assert task.transcribe(alone[0]) == [heard[at]]


@pytest.mark.parametrize("name", MODELS)
def test_the_training_loss_is_the_mean_over_the_examples_and_learns(name, samples):
    task = made(name)
    (optimizer,) = [task.configure_optimizers()]
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = task.training_step((samples, TEXTS), 0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(weight.grad is not None for weight in task.parameters() if weight.requires_grad)


def test_the_decoder_is_told_only_what_came_before(samples):
    task = made("whisper").eval()
    other = TEXTS.clone()
    other[:, 2:] = 7
    torch.testing.assert_close(task(samples, TEXTS)[:, :3], task(samples, other)[:, :3])


@pytest.mark.parametrize("beams", [1, 3])
def test_dictation_writes_what_forward_finds_likeliest(beams, samples):
    task = made("whisper").eval()
    for weight in task.parameters():
        weight.data *= 3
    written = task.model.write(samples, beams=beams)
    assert written.shape[1] <= task.model.longest
    if beams == 1:
        slow = torch.zeros(3, 0, dtype=torch.long)
        for _ in range(written.shape[1]):
            known = torch.cat([slow, torch.zeros(3, 1, dtype=torch.long)], dim=1)
            slow = torch.cat([slow, task(samples, known)[:, -1].argmax(dim=1, keepdim=True)], dim=1)
        for row, wanted in zip(written.tolist(), slow.tolist(), strict=True):
            until = wanted.index(0) if 0 in wanted else len(wanted)
            assert row[:until] == wanted[:until]


def test_a_dictation_ends_at_the_first_zero(samples, monkeypatch):
    task = made("whisper")
    monkeypatch.setattr(task.model, "write", lambda *_, **__: torch.tensor([[3, 0, 4], [1, 2, 5], [0, 0, 0]]))
    assert task.transcribe(samples) == [[3], [1, 2, 5], []]


@pytest.mark.parametrize("seed", range(5))
def test_beam_search_finds_the_most_probable_text(seed):
    steps = (2 * torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))).log_softmax(dim=1)
    chances = defaultdict(float)
    for path in itertools.product(range(3), repeat=5):
        chances[tuple(collapsed(path))] += math.exp(sum(float(steps[at, token]) for at, token in enumerate(path)))
    assert tuple(best_text(steps, beams=200)) == max(chances, key=chances.get)


def test_the_best_text_is_not_always_that_of_the_best_path():
    # The blank is likeliest at both frames, but one letter at either or both is likelier than none.
    steps = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    assert collapsed(steps.argmax(dim=1).tolist()) == []
    assert best_text(steps, beams=8) == [1]


def test_the_rates_are_those_of_torchmetrics():
    heard = Heard(truth=["one two", "three", "four five six"], found=["one too", "three", "for five"])
    for errors, rate in ((word_errors, word_error_rate), (character_errors, char_error_rate)):
        value, (low, high) = error_rate(*errors(heard), seed=0)
        assert value == pytest.approx(float(rate(heard.found, heard.truth)))
        assert low < value < high
    assert word_errors(heard)[0].tolist() == [1, 0, 2]


def test_the_bootstrap_is_close_to_the_closed_form():
    errors = (torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.2).double()
    value, (low, high) = error_rate(errors, torch.ones(400), seed=0)
    half = 1.96 * math.sqrt(value * (1 - value) / 400)
    assert low == pytest.approx(value - half, abs=0.01)
    assert high == pytest.approx(value + half, abs=0.01)


class Fixed(nn.Module):
    """Says the letters that the first samples name, frame by frame."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return 9 * self.weight * nn.functional.one_hot(inputs[:, :5].long(), 29)


def test_what_was_heard_is_measured_with_intervals():
    inputs = torch.zeros(2, 10)
    # "cat" as it is, "dog" with a wrong letter; frames 4 and 5 are blank.
    words = [LETTERS.encode(word, where="") for word in ("cat", "dog")]
    inputs[0, :3] = torch.tensor(words[0][:3])
    inputs[1, :3] = torch.tensor(words[1][:3])
    inputs[1, 1] += 1
    task = CTCRecognition(model=Fixed(), optimizer=ADAM)
    adapter = adapter_for("audio", facts=Facts(decode=LETTERS.decode), scoring=task.scoring)
    run = frozen(task, Points(inputs, torch.tensor(words)), adapter=adapter)
    found = {item.name: item for item in task.measure(run)}
    assert found["wer"].value == 0.5
    assert found["cer"].value == pytest.approx(1 / 6)
    assert found["exact"].value == 0.5
    assert found["wer"].interval[0] <= 0.5 <= found["wer"].interval[1]
    assert found["loss"].value == pytest.approx(task.example_losses((inputs, torch.tensor(words))).mean().item())
    assert isinstance(found["heard"], Table)
    assert found["heard"].rows == [("cat", "cat"), ("dog", "dpg")]


def test_without_errors_the_interval_still_has_an_upper_end():
    words = torch.tensor([LETTERS.encode("cat", where="")] * 4)
    inputs = torch.zeros(4, 10)
    inputs[:, :3] = words[:, :3]
    task = CTCRecognition(model=Fixed(), optimizer=ADAM, beams=4)
    adapter = adapter_for("audio", facts=Facts(decode=LETTERS.decode), scoring=task.scoring)
    found = {item.name: item for item in task.measure(frozen(task, Points(inputs, words), adapter=adapter))}
    assert found["wer"].value == 0
    assert found["wer"].interval == pytest.approx((0, 1 - 0.025 ** (1 / 4)))


@pytest.mark.parametrize("kind", [CTCRecognition, Dictation])
def test_no_beams_are_refused(kind):
    with pytest.raises(Refused, match=r"task\.beams is 0"):
        kind(model=Fixed(), optimizer=ADAM, beams=0)


def test_texts_that_do_not_fit_are_refused():
    pytest.importorskip("transformers")
    for model, more in ((SpeechCNN, {"sample_rate": 8000}), (Wav2Vec2, {})):
        with pytest.raises(Refused, match="the longest text has 40 tokens, for which"):
            model(input_shape=(4000,), classes=29, longest=40, **more)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (SpeechCNN, {"kernel": 4}, "model.kernel is 4"),
        (SpeechCNN, {"width": 1}, "model.width is 1"),
        (SpeechCNN, {"input_shape": (1, 8, 8)}, "model=speech_cnn needs samples"),
        (Whisper, {"heads": 5}, "model.heads=5 does not divide"),
        (Wav2Vec2, {"heads": 5}, "model.width=96 must be"),
        (Wav2Vec2, {"pretrained": "./nowhere"}, "model.pretrained=./nowhere"),
    ],
)
def test_models_that_cannot_be_are_refused(model, options, said):
    shared = {"input_shape": (4000,), "classes": 29, "longest": 4}
    rate = {} if model is Wav2Vec2 else {"sample_rate": 8000}
    with pytest.raises(Refused, match=said):
        model(**{**shared, **rate, **options})


def test_stored_weights_of_wav2vec2_are_taken_and_pickles_refused(tmp_path, samples):
    pytest.importorskip("transformers")
    one = made("wav2vec2").model.eval()
    one.network.save_pretrained(tmp_path / "good")
    shared = {"input_shape": (4000,), "classes": 29, "longest": 4}
    again = Wav2Vec2(**shared, pretrained=str(tmp_path / "good")).eval()
    torch.testing.assert_close(again(samples), one(samples))
    # Another alphabet gets a last layer of its own.
    assert Wav2Vec2(**{**shared, "classes": 7}, pretrained=str(tmp_path / "good"))(samples).shape[2] == 7
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.json").write_text((tmp_path / "good" / "config.json").read_text())
    torch.save(one.network.state_dict(), bad / "pytorch_model.bin")
    with pytest.raises(Refused, match=r"pytorch_model.bin is a pickle"):
        Wav2Vec2(**shared, pretrained=str(bad))
