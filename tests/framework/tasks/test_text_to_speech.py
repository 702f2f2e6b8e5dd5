import math
import shutil
from functools import partial

import pytest
import torch
from torch import nn

import steelyard
from helpers.tones import Tones
from small_runs import frozen, train
from steelyard.adapters import Facts, adapter_for
from steelyard.estimating._fake import numbers_answered
from steelyard.measurement import Status
from steelyard.models import SpeechT5
from steelyard.problem import Refused
from steelyard.tasks import TextToSpeech

ADAM = partial(torch.optim.Adam, lr=0.005)
TINY = {"width": 32, "layers": 1, "heads": 2, "mels": 16, "window": 128, "hop": 40}
WORDS = (
    "task=text_to_speech",
    "model=speecht5",
    "data=custom",
    "data._target_=helpers.tones.Tones",
    "model.width=8",
    "model.layers=1",
    "model.heads=2",
    "model.mels=16",
    "model.window=128",
    "model.hop=40",
    "task.recogniser_epochs=2",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "interpretability.attribution.samples=4",
    "interpretability.attribution.pictures=2",
    "interpretability.attribution.max_steps=16",
)


def net(**options):
    torch.manual_seed(0)
    return SpeechT5(input_shape=(400,), sample_rate=4000, names=Tones.names, **TINY, **options)


def made(**options):
    shape = {"model": net(), "optimizer": ADAM, "classes": 3, "sample_rate": 4000, "recogniser_epochs": 8}
    return TextToSpeech(**{**shape, **options})


def batch():
    return torch.rand(3, 400, generator=torch.Generator().manual_seed(1)) * 2 - 1, torch.arange(3)


def audio(task):
    facts = Facts(bounds=(-1, 1), names=Tones.names, sample_rate=4000)
    return adapter_for("audio", facts=facts, scoring=task.scoring)


def test_the_loss_is_the_error_of_the_frames_before_and_after_and_sees_no_neighbour():
    task, (samples, words) = made().eval(), batch()
    losses = task.example_losses((samples, words))
    wanted = (task(samples, words) - task.model.mel(samples)[:, None]).abs().mean(dim=(2, 3)).sum(dim=1)
    torch.testing.assert_close(losses, wanted, atol=0.001, rtol=0)
    for row in range(3):
        alone = task.example_losses((samples[[row]], words[[row]]))
        torch.testing.assert_close(alone[0], losses[row], atol=1e-4, rtol=1e-4)


def test_a_plan_sees_the_same_letters_as_a_run():
    with torch.device("meta"), numbers_answered():
        planned = net()
    assert [weight.shape for weight in planned.parameters()] == [weight.shape for weight in net().parameters()]


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_opacus_finds_the_gradient_of_every_example():
    opacus = pytest.importorskip("opacus")
    # Without dropout, which differs from one look to the next.
    task, (samples, words) = made(model=net(prenet_dropout=0.0)).train(), batch()
    weights = {name: weight for name, weight in task.model.named_parameters() if weight.requires_grad}
    truth = task.scoring.truth(samples, words)
    wanted = [
        torch.autograd.grad(task.example_losses((samples[[row]], words[[row]])).sum(), [*weights.values()])
        for row in range(3)
    ]
    watched = opacus.GradSampleModule(task.model, loss_reduction="sum")
    task.scoring.losses(watched(samples, words), truth).sum().backward()
    for number, (name, weight) in enumerate(weights.items()):
        each = torch.stack([gradients[number] for gradients in wanted])
        torch.testing.assert_close(weight.grad_sample, each, atol=1e-5, rtol=1e-3, msg=name)


@pytest.fixture(scope="module")
def run():
    data = Tones()
    task = train(made, data, epochs=25)
    return frozen(task, data, adapter=audio(task))


@pytest.fixture(scope="module")
def said(run):
    return {item.name: item for item in run.task.measure(run)}


def test_frames_are_foretold_beside_repeating_the_last_one(run, said):
    decibels, found, lazy = 10 / math.log(10), [], []
    for samples, words in run.loader("test"):
        mels = run.task.model.mel(samples)
        with torch.no_grad():
            found += (run.task(samples, words)[:, 0] - mels).abs().mean(dim=(1, 2)).tolist()
        # Of eleven frames two are said at a time: frame 3 is the last one known at frames 4 and 5.
        known = [0, 0, 1, 1, 3, 3, 5, 5, 7, 7, 9]
        lazy += (mels[:, :, known] - mels).abs().mean(dim=(1, 2)).tolist()
    assert said["frame_error"].value == pytest.approx(decibels * sum(found) / len(found), abs=0.01)
    assert said["frame_error_repeating"].value == pytest.approx(decibels * sum(lazy) / len(lazy), abs=0.01)
    gap = said["frame_error_repeating"].value - said["frame_error"].value
    assert said["frame_error_below_repeating"].value == pytest.approx(gap)


def test_tones_are_said_so_that_they_are_understood_each_once(said):
    assert said["intelligibility_real"].value > 0.9
    assert (said["intelligibility"].value, said["intelligibility"].count) == (1, 3)
    assert said["spectral_distance"].status is Status.MEASURED
    assert said["closer_to_own_word"].value > 0
    assert said["said"].alt == "One after another: low, middle, high."


def test_the_same_seed_says_the_same(run, said):
    assert {item.name: item for item in run.task.measure(run)} == said


@pytest.mark.parametrize(
    ("options", "words", "fix"),
    [
        ({"model": nn.Linear(2, 2)}, "needs a SpeechT5", "model=speecht5"),
        ({"classes": 4}, r"model\.classes is 3, the data has 4", "model.classes=4"),
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


@pytest.mark.slow
def test_it_is_learnt_in_private(workdir):
    scorecard = weighed("privacy=[dp_sgd,membership]", "optimizer=sgd")
    assert scorecard["privacy.dp_sgd.epsilon"].value == pytest.approx(8, abs=0.05)


@pytest.mark.slow
def test_spoken_digits_are_said_better_than_guessed(workdir):
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs Debian's package espeak-ng")
    scorecard = steelyard.run("experiment=text_to_speech", "trainer.enable_progress_bar=false")
    understood = scorecard["task.intelligibility"]
    assert understood.status is Status.MEASURED
    assert understood.interval is not None
    assert understood.interval[0] > 0.1
