"""Training on attacked examples: exact against closed forms, without a trace, and worth it."""

import copy
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from scipy.stats import binomtest
from torch import Tensor, nn

import private_runs
from helpers.victims import digits_data
from small_runs import IMAGES, TABLE, Points, bits, digits_task, flags, frozen, same_bits, streams, table_task, train
from steelyard import assembly
from steelyard.adapters import Adapter, ClassScoring, CTCScoring
from steelyard.adapters.text import TextAdapter
from steelyard.draft import Draft
from steelyard.measurement import Measurement, Status
from steelyard.measuring import looking
from steelyard.models import Bert
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.tasks import Classification
from steelyard_privacy import DPSGD
from steelyard_stability import Adversarial, AdversarialTraining
from steelyard_stability._adversarial_training import AdversarialTrainingAttachment, divergences
from steelyard_stability._assault import assault
from steelyard_stability._inner import climb, random_point
from steelyard_stability.attacks import Ball, Norm, distance

QUICK = AdversarialTraining(steps=3)
ONE = Points(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8))


def drafted(task: LightningModule, data: LightningDataModule = ONE, adapter: Adapter = IMAGES) -> Draft:
    return Draft(task=task, data=data, trainer={}, adapter=adapter, seed=0)


def taught(
    plugin: AdversarialTraining | None, task: LightningModule, data: LightningDataModule, **others: Any
) -> AdversarialTrainingAttachment | None:
    """Trains through the core's wraps; the attachment where there is a plugin."""
    draft = drafted(task, data, others.pop("adapter", IMAGES))
    selected = [] if plugin is None else [Selected("stability.adversarial_training", plugin)]
    found = assembly.attach(selected, draft)
    with assembly.wrapped(draft):
        train(lambda: task, data, callbacks=[*found.values()], **others)
    only = next(iter(found.values()), None)
    assert only is None or isinstance(only, AdversarialTrainingAttachment)
    return only


def noisy() -> nn.Sequential:
    """With everything that a pass too many would show in: running statistics and dropout."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 10)
    )


def learning() -> Points:
    inputs, targets = digits_data()
    return Points(inputs[:300], targets[:300], batch_size=50)


@pytest.mark.parametrize("method", ["pgd", "trades"])
def test_radius_0_is_plain_training_to_the_bit(method: Any) -> None:
    torch.manual_seed(0)
    model = noisy()
    plain, attacked = digits_task(copy.deepcopy(model)), digits_task(copy.deepcopy(model))

    taught(None, plain, learning(), epochs=2)
    after = streams()
    taught(replace(QUICK, method=method, radius=0.0), attacked, learning(), epochs=2)

    assert same_bits(bits(plain), bits(attacked))
    assert streams() == after
    assert flags(plain) == flags(attacked)


def test_a_wider_radius_changes_the_training() -> None:
    torch.manual_seed(0)
    model = noisy()
    plain, attacked = digits_task(copy.deepcopy(model)), digits_task(copy.deepcopy(model))

    taught(None, plain, learning())
    found = taught(replace(QUICK, radius=0.1), attacked, learning())

    assert not same_bits(bits(plain), bits(attacked))
    assert found is not None
    (row,) = found.measure(frozen(attacked, learning()))
    assert isinstance(row, Measurement)
    assert (row.value or 0) > 0.05
    assert row.count == 6
    assert "radius 0.1 pixel value" in row.note


@pytest.mark.parametrize("method", ["pgd", "trades"])
def test_the_attacked_twin_is_more_stable(method: Any) -> None:
    inputs, targets = digits_data()
    data = Points(inputs[:900], targets[:900], batch_size=100)
    tested = Points(inputs[-200:], targets[-200:])
    threat = Adversarial(radii=(0.1,), steps=10, attacks=("margin",), examples=200, masking=False)
    fooled: list[Tensor] = []
    for plugin in (None, AdversarialTraining(method=method, radius=0.1, steps=3)):
        torch.manual_seed(0)
        task = digits_task(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
        taught(plugin, task, data, epochs=6)
        run = frozen(task, tested)
        with looking(task):
            fooled.append(assault(run, threat, until=None).fooled[-1])
    plain, attacked = fooled

    # McNemar's exact test of the pairs, one-sided.
    only_plain, only_attacked = int((plain & ~attacked).sum()), int((attacked & ~plain).sum())
    assert binomtest(only_plain, only_plain + only_attacked, alternative="greater").pvalue < 1e-6


def test_a_linear_model_meets_the_worst_point_of_its_closed_form() -> None:
    weight, centre = torch.tensor([[1.0, -2.0, 0.5]]), torch.rand(20, 3) * 4 - 2

    def losses(point: Tensor) -> Tensor:
        return nn.functional.softplus(-(point @ weight.T))[:, 0]

    for norm, dual in ((Norm.LINF, weight.abs().sum()), (Norm.L2, weight.norm())):
        ball = Ball(norm=norm, radius=0.3)
        start = random_point(centre, ball=ball, seed=0, stream=0)
        found = climb(centre, start, losses, ball=ball, steps=40, step=0.25)
        worst = nn.functional.softplus(-(centre @ weight.T)[:, 0] + 0.3 * dual)
        assert torch.allclose(losses(found.inputs), worst, atol=1e-4)
        assert bool((distance(found.inputs, centre, norm) <= 0.3).all())


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_what_is_drawn_belongs_to_the_example(norm: Norm) -> None:
    centre = torch.rand(40, 1, 5, 5)
    draw = partial(random_point, ball=Ball(norm=norm, radius=0.2), seed=3)

    whole = draw(centre, stream=1)

    assert torch.equal(whole[[7]], draw(centre[[7]], stream=1))
    assert torch.equal(whole.flip(0), draw(centre.flip(0), stream=1))
    assert not torch.equal(whole, draw(centre, stream=2))
    assert len(torch.unique(whole - centre, dim=0)) == 40
    far = distance(whole, centre, norm)
    assert bool((far <= 0.2 + 1e-6).all())
    assert float(far.mean()) > 0.17
    assert abs(float((whole - centre).mean())) < 0.02


def test_the_step_sees_the_attacked_batch_inside_radius_and_range() -> None:
    seen: list[Tensor] = []

    class Watched(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(input.detach().reshape(-1, 1, 8, 8))
            return super().forward(input)

    task = digits_task(nn.Sequential(nn.Flatten(), Watched(64, 10)))
    batch = next(iter(ONE.val_dataloader()))
    attachment = AdversarialTrainingAttachment(replace(QUICK, radius=0.2), drafted(task))

    attachment.wrap(lambda given, index: task.judge(given, learning=True).losses.mean())(batch, 0)

    assert len(seen) == QUICK.steps + 1
    for point in seen:
        assert bool((distance(point, batch[0], Norm.LINF) <= 0.2).all())
        assert bool(((point >= 0) & (point <= 1)).all())
    assert not torch.equal(seen[-1], batch[0])
    assert task.training


def test_trades_adds_its_divergence_to_the_tasks_own_loss() -> None:
    task = digits_task(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    batch = next(iter(ONE.val_dataloader()))

    def step(given: Any, index: int) -> Tensor:
        del index
        return task.judge(given, learning=True).losses.mean()

    def loss(beta: float) -> Tensor:
        plugin = replace(QUICK, method="trades", beta=beta, radius=0.2)
        return AdversarialTrainingAttachment(plugin, drafted(task)).wrap(step)(batch, 0)

    plain, once, twice = (found.detach() for found in (step(batch, 0), loss(1.0), loss(2.0)))
    assert torch.equal(loss(0.0).detach(), plain)
    assert float(once - plain) > 0.01
    assert torch.allclose(twice - plain, 2 * (once - plain))
    spoken = AdversarialTrainingAttachment(replace(QUICK, method="trades"), drafted(task))
    assert set(spoken.wrap(lambda *given: {"loss": step(*given), "more": 1})(batch, 0)) == {"loss", "more"}
    assert spoken.wrap(lambda *given: None)(batch, 0) is None


def test_divergences_are_those_of_the_textbook() -> None:
    one, other = torch.randn(6, 4), torch.randn(6, 4)
    p, q = one.double().softmax(dim=1), other.double().softmax(dim=1)
    wanted = (p * (p / q).log()).sum(dim=1)

    assert torch.allclose(divergences(one, other, targets=torch.zeros(6), axis=1).double(), wanted, atol=1e-6)
    places = torch.tensor([[0, 1, -100], [2, -100, -100]])
    told = divergences(one.view(2, 3, 4), other.view(2, 3, 4), targets=places, axis=2).double()
    assert torch.allclose(told, torch.stack([wanted[:2].mean(), wanted[3]]), atol=1e-6)


@pytest.mark.parametrize("method", ["pgd", "trades"])
def test_texts_are_attacked_in_their_embeddings_and_padding_stays(method: Any) -> None:
    torch.manual_seed(0)
    model = Bert(vocab_size=20, max_length=8, classes=2, width=8, layers=1, heads=2, dropout=0.0)
    task = Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.1), classes=2)
    tokens, mask = torch.randint(0, 20, (4, 6)), torch.ones(4, 6, dtype=torch.long)
    mask[0, 3:] = 0
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": torch.tensor([0, 1, 0, 1])}
    adapter = TextAdapter(scoring=ClassScoring(), bounds=None)
    views: list[Tensor] = []

    def step(given: Any, index: int) -> Tensor:
        del index
        views.append(adapter.inputs(task, given).detach())
        return task.judge(given, learning=True).losses.mean()

    plugin = replace(QUICK, method=method, radius=0.3)
    loss = AdversarialTrainingAttachment(plugin, drafted(task, adapter=adapter)).wrap(step)(batch, 0)
    loss.backward()

    moved = (views[0] - adapter.inputs(task, batch)).detach().abs().amax(dim=2)
    assert bool((moved[mask == 0] == 0).all())
    assert (float(moved.max()) == pytest.approx(0.3, abs=1e-5)) == (method == "pgd")
    assert model.body.get_input_embeddings().weight.grad.abs().sum() > 0


class Deaf(nn.Module):
    """A stranger's reader of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 5)
        self.layer = nn.Linear(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.embedding(tokens).mean(dim=1))


def stepped(plugin: AdversarialTraining, task: LightningModule, batch: Any, adapter: Adapter = IMAGES) -> Any:
    """One step of a task that decides on `batch[0]`."""

    def step(given: Any, index: int) -> Tensor:
        del index
        return nn.functional.cross_entropy(task(given[0]), given[1])

    return AdversarialTrainingAttachment(plugin, drafted(task, adapter=adapter)).wrap(step)(batch, 0)


def test_a_step_that_cannot_be_handed_the_attacked_view_is_refused() -> None:
    task = table_task(Deaf(), classes=3)
    tokens = TextAdapter(scoring=ClassScoring(), bounds=None, tokens=0, labels=1, mask="none")
    batch = (torch.randint(0, 12, (20, 6)), torch.arange(20) % 3)

    with pytest.raises(Refused, match="cannot be handed the view"):
        stepped(QUICK, task, batch, tokens)
    assert stepped(replace(QUICK, method="trades"), task, batch, tokens).requires_grad

    elsewhere = table_task(nn.Linear(2, 2))
    attachment = AdversarialTrainingAttachment(QUICK, drafted(elsewhere, adapter=TABLE))
    constant = attachment.wrap(lambda given, index: elsewhere(torch.ones(20, 2)).sum())
    with pytest.raises(Refused, match="cannot be handed the view"):
        constant((torch.rand(20, 2), torch.arange(20) % 2), 0)


class Once(torch.autograd.Function):
    """Goes back a single time, as a compiled step with buffers that it gives away."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs * 1

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        backwards.append(len(grad))
        return grad


backwards: list[int] = []


def test_whether_the_step_learns_from_the_view_is_seen_without_going_back() -> None:
    task = table_task(nn.Linear(2, 2))
    attachment = AdversarialTrainingAttachment(QUICK, drafted(task, adapter=TABLE))
    step = attachment.wrap(lambda given, index: nn.functional.cross_entropy(task(Once.apply(given[0])), given[1]))
    loss = step((torch.rand(20, 2), torch.arange(20) % 2), 0)
    assert backwards == []
    loss.backward()
    assert backwards == [20]


def test_inputs_that_cannot_be_attacked_are_refused() -> None:
    task, targets = digits_task(), torch.arange(20) % 10
    with pytest.raises(Refused, match="whole numbers"):
        stepped(QUICK, task, (torch.randint(0, 9, (20, 1, 8, 8)), targets))
    with pytest.raises(Refused, match="outside the raw range"):
        stepped(QUICK, task, (2 * torch.rand(20, 1, 8, 8), targets))


def test_preflight_names_what_stands_in_the_way() -> None:
    task = digits_task()
    task.automatic_optimization = False
    (problem,) = QUICK.preflight(drafted(task))
    assert "steps its optimizer by itself" in problem.message

    strange = replace(IMAGES, scoring=CTCScoring())
    (problem,) = replace(QUICK, method="trades").preflight(drafted(digits_task(), adapter=strange))
    assert problem.fix == "stability.adversarial_training.method=pgd"
    assert not [*QUICK.preflight(drafted(digits_task(), adapter=strange))]


@pytest.mark.parametrize("method", ["pgd", "trades"])
def test_private_training_on_attacked_examples_is_the_same_by_both_engines(method: Any) -> None:
    ends: list[Tensor] = []
    for engine in ("hooks", "microbatch"):
        torch.manual_seed(0)
        task = private_runs.Task()
        private = DPSGD(engine=engine, noise_seed=0, target_epsilon=50.0)
        selected = [
            Selected("privacy.dp_sgd", private),
            Selected("stability.adversarial_training", replace(QUICK, method=method, radius=0.2)),
        ]
        draft = private_runs.make_draft(task, private_runs.data(48, batch_size=16), max_epochs=1)
        found = assembly.attach(selected, draft)
        with assembly.wrapped(draft), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
            Trainer(**draft.trainer, callbacks=assembly.callbacks(selected, found)).fit(task, datamodule=draft.data)
        ends.append(private_runs.weights(task))

    assert torch.allclose(*ends, atol=1e-5)


def test_what_was_not_trained_has_no_climb() -> None:
    for plugin in (QUICK, replace(QUICK, steps=1)):
        attachment = AdversarialTrainingAttachment(plugin, drafted(digits_task()))
        (row,) = attachment.measure(frozen(digits_task(), ONE, trained=False))
        assert isinstance(row, Measurement)
        assert row.status is Status.SKIPPED
