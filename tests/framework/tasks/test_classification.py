import math
from functools import partial

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax
from torch.utils.data import DataLoader, TensorDataset

from small_runs import TABLE, frozen, parted, table_task
from steelyard.data import Digits
from steelyard.measurement import Better, Status
from steelyard.models import CNN, MLP
from steelyard.problem import Refused
from steelyard.statistics import clopper_pearson
from steelyard.tasks import Classification, Measured
from steelyard.tasks.learning import Learning, absolute_weights


def task(model=None, **options):
    model = model or MLP(input_shape=(1, 8, 8), classes=10, hidden=(16,))
    return Classification(**{"model": model, "optimizer": partial(torch.optim.Adam, lr=1e-3), "classes": 10, **options})


def fit(made, data, *, epochs, callbacks=(), seed=0):
    seed_everything(seed, verbose=False)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(made, data)
    return trainer


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, 1, 8, 8, generator=generator), torch.randint(10, (12,), generator=generator)


def test_the_loss_is_smoothed_cross_entropy_and_l1(batch):
    made = task(label_smoothing=0.2, l1=0.01)
    inputs, targets = batch
    logs = log_softmax(made(inputs), dim=1)
    wanted = torch.full((12, 10), 0.2 / 10).scatter(1, targets[:, None], 0.8 + 0.2 / 10)
    weights = [layer.weight for layer in made.modules() if isinstance(layer, nn.Linear)]
    by_hand = -(wanted * logs).sum(dim=1).mean() + 0.01 * sum(weight.abs().sum() for weight in weights)
    torch.testing.assert_close(made.training_step(batch, 0), by_hand)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "l1": 0.01}])
def test_the_loss_of_a_batch_is_the_mean_over_its_examples(batch, options):
    made = task(CNN(input_shape=(1, 8, 8), classes=10), **options)
    alone = [made.training_step((inputs[None], target[None]), 0) for inputs, target in zip(*batch, strict=True)]
    torch.testing.assert_close(made.training_step(batch, 0), torch.stack(alone).mean())


@torch.no_grad()
def test_l1_leaves_biases_norms_and_frozen_weights_alone():
    model = CNN(input_shape=(1, 8, 8), classes=10)
    sizes = [float(layer.weight.abs().sum()) for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert float(absolute_weights(model)) == pytest.approx(sum(sizes), rel=1e-5)
    next(model.parameters()).requires_grad_(False)
    assert float(absolute_weights(model)) == pytest.approx(sum(sizes[1:]), rel=1e-5)
    assert absolute_weights(nn.ReLU()) == 0


class Worded(nn.Module):
    """Takes the whole mapping, as models of texts do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Embedding(7, 10)

    def forward(self, batch):
        return self.layer(batch["input_ids"]).mean(dim=1)


def test_a_batch_may_be_a_mapping_with_labels():
    made = task(Worded())
    words = {"input_ids": torch.tensor([[1, 2], [3, 4]]), "labels": torch.tensor([0, 9])}
    losses = cross_entropy(made(words), words["labels"], reduction="none")
    torch.testing.assert_close(made.example_losses(words), losses)
    torch.testing.assert_close(made.training_step(words, 0), losses.mean())


def test_tokens_cannot_be_mixed(batch):
    made = task(Worded(), mixup=0.2)
    with pytest.raises(Refused, match="tokens") as caught:
        made.training_step({"input_ids": torch.tensor([[1, 2]]), "labels": torch.tensor([0])}, 0)
    assert caught.value.problems[0].fix == "task.mixup=0"


def test_mixing_is_for_training_alone(batch):
    made = task(mixup=0.4, label_smoothing=0.1)
    torch.testing.assert_close(made.example_losses(batch), cross_entropy(made(batch[0]), batch[1], reduction="none"))


def test_mixed_losses_are_those_of_the_mixed_pairs(batch):
    inputs, targets = batch
    made = task(mixup=0.4, label_smoothing=0.1)
    torch.manual_seed(3)
    found = made.judge(batch, learning=True).losses
    torch.manual_seed(3)
    share = torch.distributions.Beta(torch.full((12,), 0.4), torch.full((12,), 0.4)).sample()
    partner = torch.randperm(12)
    for row in range(12):
        other = int(partner[row])
        logits = made((share[row] * inputs[row] + (1 - share[row]) * inputs[other])[None])
        soft = share[row] * nn.functional.one_hot(targets[row], 10) + (1 - share[row]) * nn.functional.one_hot(
            targets[other], 10
        )
        wanted = 0.9 * soft + 0.1 / 10
        torch.testing.assert_close(found[row], -(wanted * logits[0].log_softmax(dim=0)).sum(), rtol=1e-4, atol=1e-5)


class Sum(Learning):
    """The least that a task has to say."""

    def example_losses(self, batch):
        return self.model(batch[0])[:, 0].square()


def test_a_task_of_a_few_lines_has_the_regularisation_and_logs_no_accuracy():
    made = Sum(model=nn.Linear(3, 1), optimizer=partial(torch.optim.SGD, lr=0.1), l1=0.5)
    inputs = torch.rand(8, 3)
    weight = made.model.weight.abs().sum()
    by_hand = made.model(inputs).square().mean() + 0.5 * weight
    torch.testing.assert_close(made.training_step((inputs,), 0), by_hand)
    data = Two((inputs,), (inputs,))
    data.val_dataloader = data.test_dataloader
    trainer = fit(made, data, epochs=1)
    assert set(trainer.callback_metrics) == {"train_loss", "val_loss"}
    [tested] = trainer.test(made, data, verbose=False)
    assert tested == {"test_loss": pytest.approx(float(made.example_losses((inputs,)).mean().detach()))}
    with pytest.raises(Refused, match=r"task\.l1"):
        Sum(model=nn.Linear(3, 1), optimizer=partial(torch.optim.SGD, lr=0.1), l1=-1.0)


def test_l1_makes_weights_smaller():
    def size(l1):
        seed_everything(0, verbose=False)
        made = task(l1=l1)
        fit(made, Digits(limit=200), epochs=3)
        return float(absolute_weights(made.model).detach())

    assert size(1e-2) < 0.9 * size(0.0)


class Scored(Callback):
    """Scores the split by hand at the moment when the task logs."""

    def __init__(self, data):
        self.data = data
        self.right = None

    @torch.no_grad()
    def on_validation_end(self, trainer, pl_module):
        inputs, targets = (torch.cat(parts) for parts in zip(*self.data.val_dataloader(), strict=True))
        logits = pl_module(inputs)
        self.right = {
            "val_loss": float(cross_entropy(logits, targets)),
            "val_accuracy": float((logits.argmax(dim=1) == targets).float().mean()),
        }


def test_what_is_logged_counts_each_example_once():
    # 359 examples in batches of 100: the last one is smaller, and must not weigh more.
    data = Digits(batch_size=100)
    made, scored = task(label_smoothing=0.3, l1=1e-3), Scored(data)
    trainer = fit(made, data, epochs=2, callbacks=[scored])
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert set(logged) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    assert {name: logged[name] for name in scored.right} == pytest.approx(scored.right, rel=1e-5)
    inputs, targets = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    with torch.no_grad():
        logits = made(inputs)
    [tested] = trainer.test(made, data, verbose=False)
    assert tested["test_loss"] == pytest.approx(float(cross_entropy(logits, targets)), rel=1e-5)
    assert tested["test_accuracy"] == pytest.approx(float((logits.argmax(1) == targets).float().mean()))


def test_the_recipe_of_the_source_learns_the_digits():
    # 128 hidden units, Adam as it comes, sparse categorical cross-entropy, 10 epochs of batches of 32.
    data = Digits(batch_size=32)
    seed_everything(0, verbose=False)
    made = task(MLP(**data.sizes), optimizer=torch.optim.Adam)
    trainer = fit(made, data, epochs=10)
    [tested] = trainer.test(made, data, verbose=False)
    assert tested["test_accuracy"] >= 0.93


class Two(LightningDataModule):
    """A training split and a test split that differ."""

    def __init__(self, train, test):
        super().__init__()
        self.train_dataloader = lambda: DataLoader(TensorDataset(*train), batch_size=5, shuffle=True)
        self.test_dataloader = lambda: DataLoader(TensorDataset(*test), batch_size=5)


def test_the_headline_measurements():
    class Echo(nn.Module):
        def forward(self, inputs):
            return inputs.flatten(1)

    def examples(right, count):
        targets = torch.arange(count) % 3
        decided = torch.where(torch.arange(count) < right, targets, (targets + 1) % 3)
        return 2 * nn.functional.one_hot(decided, 3).float(), targets

    made = task(Echo(), classes=3, label_smoothing=0.3)
    assert isinstance(made, Measured)
    rows = {row.name: row for row in made.measure(frozen(made, Two(examples(18, 20), examples(7, 10))))}
    table = rows.pop("examples")
    assert list(rows) == ["accuracy", "train_accuracy", "macro_f1", "loss"]
    assert (rows["accuracy"].value, rows["accuracy"].count, rows["accuracy"].split) == (0.7, 10, "test")
    assert rows["accuracy"].interval == clopper_pearson(7, 10)
    assert rows["accuracy"].better is Better.HIGHER
    assert (rows["train_accuracy"].value, rows["train_accuracy"].split) == (0.9, "train")
    right, wrong = math.log(math.e**2 + 2) - 2, math.log(math.e**2 + 2)
    assert rows["loss"].value == pytest.approx(0.7 * right + 0.3 * wrong, rel=1e-5)
    assert (table.columns, table.shown) == (("target", "accuracy", "loss"), False)
    assert [row[:2] for row in table.rows] == [(number % 3, int(number < 7)) for number in range(10)]
    assert [row[2] for row in table.rows] == pytest.approx([right] * 7 + [wrong] * 3, rel=1e-5)
    assert rows["loss"].better is Better.LOWER


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_the_scheduler_counts_what_it_is_told(interval):
    data = Digits(limit=64, batch_size=32)
    made = task(scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5), interval=interval)
    trainer = fit(made, data, epochs=3)
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(1e-3 * 0.5 ** {"epoch": 3, "step": 6}[interval])


def test_frozen_weights_are_not_given_to_the_optimizer():
    made = task()
    made.model.layers[2].weight.requires_grad_(False)
    given = {id(weight) for group in made.configure_optimizers().param_groups for weight in group["params"]}
    assert given == {id(weight) for weight in made.parameters() if weight.requires_grad}
    assert len(given) == 3


@pytest.mark.parametrize(("option", "value"), [("label_smoothing", 1.0), ("label_smoothing", -0.1), ("l1", -1.0)])
def test_regularisation_out_of_range_is_refused(option, value):
    with pytest.raises(Refused, match=rf"task\.{option}"):
        task(**{option: value})


def test_the_checkpoint_holds_the_model_and_nothing_else():
    made = task()
    assert set(made.state_dict()) == {f"model.{name}" for name in made.model.state_dict()}


def test_an_optimizer_that_does_not_take_its_options_is_refused():
    with pytest.raises(Refused, match="Invalid learning rate: -1") as caught:
        task(optimizer=partial(torch.optim.Adam, lr=-1)).configure_optimizers()
    assert caught.value.problems[0].fix == "optimizer=adam"


def test_a_stranger_with_a_measure_is_measured_and_one_without_is_not():
    class Stranger(LightningModule):
        def measure(self, run):
            yield from ()

    assert isinstance(Stranger(), Measured)
    assert not isinstance(LightningModule(), Measured)


def test_a_test_example_that_is_not_finite_takes_the_loss_alone():
    data = parted(200)
    data._data.tensors[0][7, 2] = math.nan
    made = table_task(nn.Linear(6, 2))
    found = {row.name: row for row in made.measure(frozen(made, data, adapter=TABLE))}
    assert found["accuracy"].status is Status.MEASURED
    assert (found["loss"].status, found["loss"].value) == (Status.FAILED, None)
    assert found["loss"].note.startswith("1 of 200 test examples have a loss that is not finite")
