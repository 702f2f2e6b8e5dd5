import io
import math
import shutil
import wave
from functools import partial

import pytest
import torch
from torch import nn

import steelyard
from helpers.tones import Tones
from small_runs import frozen, train
from steelyard.adapters import Facts, adapter_for
from steelyard.measurement import Status
from steelyard.models import WaveNet
from steelyard.models.mu_law import encode
from steelyard.problem import Refused
from steelyard.synthesis import Markov
from steelyard.synthesis._measuring import Sounds, spectra
from steelyard.tasks import Synthesis
from steelyard.wav import wav

ADAM = partial(torch.optim.Adam, lr=0.02)
TINY = {"classes": 3, "levels": 32, "width": 8, "skip": 8, "dilations": (1, 2, 4, 8)}
WORDS = (
    "task=synthesis",
    "model=wavenet",
    "data=custom",
    "data._target_=helpers.tones.Tones",
    "model.width=4",
    "model.skip=4",
    "model.levels=16",
    "model.dilations=[1,2,4]",
    "task.window=100",
    "task.clips=2",
    "task.recogniser_epochs=2",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "interpretability.attribution.samples=4",
    "interpretability.attribution.pictures=2",
    "interpretability.attribution.max_steps=16",
)


def made(**options):
    torch.manual_seed(0)
    shape = {"model": WaveNet(**TINY), "optimizer": ADAM, "classes": 3, "sample_rate": 4000}
    return Synthesis(**{**shape, "window": 0, "clips": 2, "recogniser_epochs": 8, **options})


def batch(count=3, length=60):
    samples = torch.rand(count, length, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return samples, torch.arange(count) % 3


def audio(task):
    facts = Facts(bounds=(-1, 1), names=Tones.names, sample_rate=4000)
    return adapter_for("audio", facts=facts, scoring=task.scoring)


def test_the_loss_is_the_mean_of_the_samples_and_sees_no_neighbour():
    task, (samples, words) = made(), batch()
    losses = task.example_losses((samples, words))
    logits, codes = task(samples, words), encode(samples, levels=32)
    wanted = -logits.log_softmax(dim=1).gather(1, codes[:, None])[:, 0].mean(dim=1)
    torch.testing.assert_close(losses, wanted)
    for row in range(3):
        torch.testing.assert_close(task.example_losses((samples[[row]], words[[row]]))[0], losses[row])


@pytest.mark.parametrize("length", [60, 50, 15])
def test_windows_cover_an_example_and_see_what_came_before(length):
    task, given = made(window=20), batch(length=length)
    samples, words = given
    whole = task.scoring
    found = set()
    for _ in range(40):
        found.add(tuple(round(x, 4) for x in task.judge(given, learning=True).losses.tolist()))
    logits, codes = task(samples, words), encode(samples, levels=32)
    starts = sorted({min(20 * number, max(0, length - 20)) for number in range(math.ceil(length / 20))})
    wanted = {
        tuple(round(x, 4) for x in whole.losses(logits[..., at : at + 20], codes[:, at : at + 20]).tolist())
        for at in starts
    }
    assert found == wanted
    torch.testing.assert_close(task.judge(given, learning=False).losses, task.example_losses(given))


def test_the_adapter_gives_the_levels_as_truth_and_tells_the_word():
    task = made()
    samples, words = batch()
    adapter = audio(task)
    assert torch.equal(adapter.targets((samples, words)), encode(samples, levels=32))
    torch.testing.assert_close(adapter.outputs(task, (samples, words)), task(samples, words))
    other = adapter.replace((samples, words), samples.flip(dims=(1,)))
    torch.testing.assert_close(adapter.outputs(task, other), task(samples.flip(dims=(1,)), words))


@pytest.fixture(scope="module")
def run():
    data = Tones()
    task = train(made, data, epochs=15)
    return frozen(task, data, adapter=audio(task))


@pytest.fixture(scope="module")
def said(run):
    return {item.name: item for item in run.task.measure(run)}


def test_bits_are_those_of_the_loss_beside_a_chain_of_the_training_split(run, said):
    losses = run.predict("test").losses.double() / math.log(2)
    assert said["bits_per_sample"].value == pytest.approx(float(losses.mean()))
    codes = {}
    for split in ("train", "val", "test"):
        codes[split] = torch.cat([encode(samples, levels=32) for samples, _ in run.loader(split)])
    chain = Markov.fitted(codes["train"], val=codes["val"], levels=32)
    assert said["markov_bits"].value == pytest.approx(float(chain.bits(codes["test"]).mean()))
    assert said["unigram_bits"].value == pytest.approx(float(chain.alone(codes["test"]).mean()))
    gap = said["bits_below_markov"]
    assert gap.value == pytest.approx(said["markov_bits"].value - said["bits_per_sample"].value)
    assert gap.interval[0] > 0
    assert gap.count == len(losses)


def test_speech_is_weighed_by_spectrum_and_by_a_listener_with_controls(said):
    assert said["spectral_distance"].status is Status.MEASURED
    assert said["spectral_distance"].count == 6
    assert 0 < said["spectral_distance_real"].value < said["spectral_distance_noise"].value
    assert said["intelligibility_real"].value > 0.9
    assert said["intelligibility"].count == 6
    assert said["intelligibility"].interval[0] <= said["intelligibility"].value


def clips(words):
    drawing = torch.Generator().manual_seed(0)
    return Sounds(samples=torch.rand(len(words), 800, generator=drawing) - 0.5, words=torch.tensor(words))


def test_a_word_that_nobody_says_in_the_test_split_is_left_out_of_the_distances():
    whole = {item.name: item for item in spectra(clips([0, 1]), clips([0, 1, 0, 1]), sample_rate=8000, seed=0)}
    more = {item.name: item for item in spectra(clips([0, 1, 2]), clips([0, 1, 0, 1]), sample_rate=8000, seed=0)}
    assert [item.count for item in more.values()] == [2, 2, 3, 2]
    assert more["spectral_distance"].value is not None
    assert more["spectral_distance"].count == whole["spectral_distance"].count
    for lone in ([0, 1], [0, 0], [2, 3]):
        skipped = [*spectra(clips([0, 1]), clips(lone), sample_rate=8000, seed=0)]
        assert {item.status for item in skipped} == {Status.SKIPPED}


def test_what_was_said_can_be_heard(said):
    for name in ("said", "heard"):
        with wave.open(io.BytesIO(said[name].wav), "rb") as file:
            assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (4000, 3 * 400, 1)
        assert said[name].alt == "One after another: low, middle, high."


def test_the_same_seed_says_the_same(run, said):
    again = {item.name: item for item in run.task.measure(run)}
    assert again == said


def test_a_wav_file_holds_the_samples():
    samples = torch.tensor([0.0, 0.5, -1.0, 2.0])
    with wave.open(io.BytesIO(wav(samples, rate=8000)), "rb") as file:
        held = torch.frombuffer(bytearray(file.readframes(4)), dtype=torch.int16)
    assert held.tolist() == [0, 16384, -32767, 32767]


@pytest.mark.parametrize(
    ("options", "words", "fix"),
    [
        ({"model": nn.Linear(2, 2)}, "needs a WaveNet", "model=wavenet"),
        ({"classes": 4}, r"model\.classes is 3, the data has 4", "model.classes=4"),
        ({"window": -1}, r"task\.window is -1", "task.window=1000"),
        ({"clips": 1}, r"task\.clips is 1", "task.clips=6"),
        ({"temperature": -0.5}, r"task\.temperature is -0.5", "task.temperature=1"),
        ({"recogniser_epochs": 0}, r"task\.recogniser_epochs is 0", "task.recogniser_epochs=6"),
    ],
)
def test_options_out_of_range_are_refused(options, words, fix):
    with pytest.raises(Refused, match=words) as caught:
        made(**options)
    assert caught.value.problems[0].fix == fix


def weighed(*words):
    scorecard = steelyard.run(*WORDS, *words)
    assert {section.key: section.error for section in scorecard.sections if section.status is Status.FAILED} == {}
    assert scorecard["stability.noise.worst_flips"].count
    assert scorecard["interpretability.attribution.converged"].value is not None
    return scorecard


def test_it_is_weighed_on_all_four_challenges(workdir):
    scorecard = weighed()
    assert scorecard["compute.cost.parameters"].value
    assert scorecard["privacy.membership.auc"].count
    # 0.1 s in windows of 40 ms.
    assert "3 units" in scorecard["interpretability.attribution.deletion_gap"].note
    page = next(workdir.glob("outputs/*/report.html")).read_text()
    assert page.count('<audio controls preload="metadata" src="data:audio/wav;base64,') == 2


@pytest.mark.slow
def test_it_is_learnt_in_private(workdir):
    scorecard = weighed("privacy=[dp_sgd,membership]", "optimizer=sgd")
    assert scorecard["privacy.dp_sgd.epsilon"].value == pytest.approx(8, abs=0.05)
    assert "one example at a time" not in scorecard["privacy.dp_sgd.epsilon"].note


@pytest.mark.slow
def test_spoken_digits_are_foretold_a_bit_better_than_by_a_chain(workdir):
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs Debian's package espeak-ng")
    scorecard = steelyard.run("experiment=synthesis", "trainer.enable_progress_bar=false")
    gap = scorecard["task.bits_below_markov"]
    assert gap.interval is not None
    assert gap.interval[0] >= 1
