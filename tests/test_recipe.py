"""The recipe of docs/recipe.md runs as it stands there, and its words mean what it says."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from pytorch_lightning import Trainer, seed_everything
from torch.nn.functional import cross_entropy

from steelyard.building import make_data, make_draft
from steelyard.cli import main
from steelyard.models import MLP
from steelyard.tasks import Classification

ROOT = Path(__file__).parents[1]
RECIPE = (ROOT / "docs" / "recipe.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", RECIPE, flags=re.DOTALL) for line in block.splitlines()]
LONG = [words for words in COMMANDS if "experiment=" in words]
WORDS = re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)*)=([^`]*)`", RECIPE)
QUIET = ["privacy=none", "interpretability=none", "trainer.enable_progress_bar=false"]


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in LONG])
def test_a_command_of_the_recipe(words: str, workdir: Path) -> None:
    assert main([*words.split()[1:], *QUIET]) == (1 if "0.999" in words else 0)


def test_the_long_commands_have_a_test_of_their_own() -> None:
    assert LONG == ["steelyard run experiment=source_recipe", "steelyard run experiment=mlp_one_cycle"]


def draft(*words: str, **groups: str):
    chosen = {
        "data": "digits",
        "model": "mlp",
        "task": "classification",
        "optimizer": "adam",
        "scheduler": "none",
        "trainer": "default",
        "logger": "none",
        **groups,
    }
    with initialize_config_module("steelyard_conf", version_base="1.3"):
        config = compose(overrides=[*(f"+{group}={option}" for group, option in chosen.items()), "+seed=0", *words])
    seed_everything(0, verbose=False)
    return make_draft(config, make_data(config))


def test_every_word_of_the_recipe_is_a_word_of_the_config() -> None:
    """Also those that no command uses."""
    groups = {"model", "data", "task", "optimizer", "scheduler", "trainer"}
    assert len(WORDS) > 20
    for name, value in WORDS:
        place = name.partition(".")[0]
        if "." in name and place in groups - {"data"} and name != "optimizer._target_":
            owner = {"model": "resnet", "scheduler": "cosine"} if name in ("model.flip", "model.pretrained") else {}
            owner |= {"scheduler": "cosine"} if place == "scheduler" else {}
            with initialize_config_module("steelyard_conf", version_base="1.3"):
                chosen = {"model": "mlp", "task": "classification", "optimizer": "adam", "trainer": "default", **owner}
                compose(overrides=[*(f"+{group}={option}" for group, option in chosen.items()), f"{name}=null"])
        else:
            assert place in groups | {"seed", "require", "privacy"}, (name, value)


def test_gradient_descent_is_the_formula() -> None:
    made = draft("optimizer.momentum=0", "optimizer.lr=0.5", "data.limit=64", "trainer.max_epochs=1", optimizer="sgd")
    before = {name: weight.detach().clone() for name, weight in made.task.named_parameters()}
    inputs, targets = next(iter(made.data.train_dataloader()))
    gradients = torch.autograd.grad(cross_entropy(made.task(inputs), targets), [*made.task.parameters()])
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    Trainer(**{**made.trainer, **quiet}).fit(made.task, made.data)
    for (name, old), gradient in zip(before.items(), gradients, strict=True):
        torch.testing.assert_close(made.task.get_parameter(name), old - 0.5 * gradient, rtol=1e-4, atol=1e-6)


def test_regularisation_is_the_formula() -> None:
    """The gradient of J = mean L + l1 sum |w|, and L2 as the optimizer adds it."""
    torch.manual_seed(0)
    task = Classification(
        model=MLP(input_shape=(4,), classes=3, hidden=(5,)),
        optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.2),
        classes=3,
        l1=0.3,
    )
    inputs, targets = torch.rand(7, 4), torch.randint(3, (7,))
    weights = [*task.parameters()]
    plain = torch.autograd.grad(cross_entropy(task(inputs), targets), weights)
    before = [weight.detach().clone() for weight in weights]
    optimizer = task.configure_optimizers()
    task.training_step((inputs, targets), 0).backward()
    optimizer.step()
    for weight, old, gradient in zip(weights, before, plain, strict=True):
        pull = 0.3 * old.sign() if old.dim() > 1 else torch.zeros_like(old)
        torch.testing.assert_close(weight.detach(), old - 0.1 * (gradient + pull + 0.2 * old))


EVERYTHING = ("task.l1=1e-6", "task.label_smoothing=0.1", "task.mixup=0.2", "model.dropout=0.1")


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        ("sgd", "one_cycle"),
        ("adam", "cosine"),
        ("adamw", "constant"),
        ("rmsprop", "linear"),
        ("lion", "one_cycle"),
        ("sam", "cosine"),
    ],
)
@pytest.mark.parametrize("kind", ["picture", "video"])
def test_everything_combines(kind: str, optimizer: str, scheduler: str) -> None:
    small = {
        "picture": ({"model": "resnet"}, ("model.widths=[4,8]", "model.depths=[1,1]", "data.limit=40")),
        "video": (
            {"model": "videomae", "data": "motion"},
            ("data.videos=40", "model.width=8", "model.layers=1", "model.heads=1"),
        ),
    }
    groups, words = small[kind]
    made = draft(
        *words,
        *EVERYTHING,
        "data.batch_size=20",
        "trainer.max_epochs=2",
        optimizer=optimizer,
        scheduler=scheduler,
        trainer="ema",
        **groups,
    )
    before = [weight.detach().clone() for weight in made.task.parameters()]
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(**{**made.trainer, **quiet})
    trainer.fit(made.task, made.data)
    assert all(weight.isfinite().all() for weight in made.task.parameters())
    moved = [not torch.equal(old, new) for old, new in zip(before, made.task.parameters(), strict=True)]
    assert all(moved)
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} <= {*trainer.callback_metrics}
