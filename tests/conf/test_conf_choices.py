"""Every choice of the groups that make a run composes, builds and trains."""

from inspect import Parameter, signature
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import get_class
from omegaconf import OmegaConf
from pytorch_lightning import Trainer, seed_everything

import steelyard_conf
from steelyard.building import make_data, make_draft
from steelyard.data.idx_file import write_idx
from steelyard.problem import Refused

CONF = Path(next(iter(steelyard_conf.__path__)))
DEFAULTS = {
    "data": "digits",
    "model": "mlp",
    "task": "classification",
    "optimizer": "adam",
    "scheduler": "none",
    "trainer": "default",
    "logger": "none",
}
QUICK = ("+trainer.fast_dev_run=2", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false")


def composed(*words, **choices):
    groups = [f"+{group}={option}" for group, option in {**DEFAULTS, **choices}.items()]
    with initialize_config_module("steelyard_conf", version_base="1.3"):
        return compose(overrides=[*groups, "+seed=0", *words])


def draft(*words, **choices):
    cfg = composed(*words, **choices)
    seed_everything(0, verbose=False)
    return make_draft(cfg, make_data(cfg))


def fit(made):
    Trainer(**made.trainer, logger=False, enable_checkpointing=False).fit(made.task, made.data)


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def test_the_choices_are_these_and_more():
    wanted = {
        "data": {"breast_cancer", "custom", "digits", "fashion_mnist", "idx"},
        "model": {"cnn", "custom", "mlp"},
        "task": {"classification", "custom"},
        "optimizer": {"adam", "adamw", "lion", "rmsprop", "sam", "sgd"},
        "scheduler": {"constant", "cosine", "custom", "linear", "none", "one_cycle"},
        "trainer": {"default", "ema"},
        "logger": {"csv", "none"},
    }
    for group, some in wanted.items():
        assert some <= {*options(group)}


def parameters_of(kind):
    """Those of a class; `**options` stands for those of its bases."""
    own = signature(kind.__init__).parameters.values()
    found = {one.name: one for one in own if one.kind is not Parameter.VAR_KEYWORD and one.name != "self"}
    if len(found) == len(own) - 1:
        return found
    return {**parameters_of(kind.__mro__[1]), **found}


@pytest.mark.parametrize(
    ("group", "option"),
    [(group, option) for group in ("data", "model", "task") for option in options(group) if option != "custom"],
)
def test_a_choice_names_every_option_of_its_class_with_the_same_default(group, option):
    node = composed(**{group: option})[group]
    raw = OmegaConf.to_container(node, resolve=False)
    parameters = parameters_of(get_class(raw.pop("_target_")))
    # The core takes these two out.
    for name in ("modality", "adapter"):
        assert raw.pop(name, None) is None
    assert set(raw) == set(parameters)
    # What is built on another choice is there to change its values.
    if "defaults" in OmegaConf.load(CONF / group / f"{option}.yaml"):
        return
    for name, value in raw.items():
        default = parameters[name].default
        filled = value == "???" or str(value).startswith("${") or name in ("root", "kind", "names")
        assert filled or value == (list(default) if isinstance(default, tuple) else default)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "lion", "sam", "rmsprop"])
def test_every_model_trains_with_every_optimizer(model, optimizer):
    made = draft(*QUICK, model=model, optimizer=optimizer)
    before = [weight.clone() for weight in made.task.parameters()]
    fit(made)
    assert not any(torch.equal(old, new) for old, new in zip(before, made.task.parameters(), strict=True))
    assert made.adapter.modality == "image"
    assert made.adapter.bounds == (0.0, 1.0)


@pytest.mark.parametrize("scheduler", ["constant", "cosine", "linear", "one_cycle"])
def test_every_schedule_trains(scheduler):
    fit(draft(*QUICK, scheduler=scheduler))


def test_a_schedule_of_pytorch_trains():
    words = ("scheduler._target_=torch.optim.lr_scheduler.StepLR", "+scheduler.step_size=1", "+scheduler.gamma=0.5")
    made = draft(*QUICK, *words, scheduler="custom")
    fit(made)


def test_the_moving_average_trains():
    made = draft(*QUICK, trainer="ema")
    assert made.trainer["callbacks"]
    fit(made)


def test_a_table_trains_and_gets_its_adapter():
    made = draft(*QUICK, data="breast_cancer")
    fit(made)
    assert made.adapter.modality == "table"
    assert made.adapter.columns[:2] == ("mean radius", "mean texture")
    assert made.adapter.bounds is None
    assert made.task.model.layers[0].mean.shape == (30,)


def test_idx_takes_its_folder(tmp_path):
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", torch.randint(256, (40, 6, 6), dtype=torch.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", torch.arange(40).remainder(4).to(torch.uint8))
    made = draft(*QUICK, f"data.root={tmp_path}", data="idx")
    fit(made)
    assert made.task(torch.rand(2, 1, 6, 6)).shape == (2, 4)


@pytest.mark.parametrize("option", ["idx", "fashion_mnist"])
def test_a_folder_that_is_not_there_is_refused(option, tmp_path):
    words = [f"data.root={tmp_path / 'nowhere'}"] if option == "fashion_mnist" else []
    with pytest.raises(Refused, match="dataset-fashion-mnist") as caught:
        draft(*words, data=option)
    assert caught.value.problems[0].fix == "data.root=FOLDER"


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
def test_fashion_mnist_trains():
    made = draft(*QUICK, data="fashion_mnist")
    fit(made)
    assert sum(weight.numel() for weight in made.task.parameters()) == 101_770


def test_regularisation_is_reached_by_config():
    made = draft(
        "optimizer.weight_decay=0.3", "model.dropout=0.25", "task.label_smoothing=0.1", "task.l1=1e-4", optimizer="sgd"
    )
    assert made.task.configure_optimizers().param_groups[0]["weight_decay"] == 0.3
    assert [layer.p for layer in made.task.modules() if isinstance(layer, torch.nn.Dropout)] == [0.25]
    assert (made.task.label_smoothing, made.task.l1) == (0.1, 1e-4)


def test_a_scheduler_is_reached_by_config():
    node = "task.scheduler={_target_:torch.optim.lr_scheduler.CosineAnnealingLR,_partial_:true,T_max:30}"
    made = draft(node)
    configured = made.task.configure_optimizers()
    assert configured["lr_scheduler"]["scheduler"].T_max == 30


STRANGER = """
import torch
from pytorch_lightning import LightningDataModule, LightningModule


class Lit(LightningModule):
    def __init__(self, width, rate=0.1):
        super().__init__()
        first, second = torch.nn.Linear(64, width), torch.nn.Linear(width, 10)
        self.net = torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.Tanh(), second)
        self.rate = rate

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return torch.nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)


    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))


class Net(torch.nn.Module):
    def __init__(self, classes, bias=True):
        super().__init__()
        self.layer = torch.nn.Linear(64, classes, bias=bias)

    def forward(self, images):
        return self.layer(images.flatten(1))


class Data(LightningDataModule):
    def __init__(self, count=40):
        super().__init__()
        self.count = count

    def _loader(self):
        data = torch.utils.data.TensorDataset(torch.rand(self.count, 1, 8, 8), torch.arange(self.count) % 10)
        return torch.utils.data.DataLoader(data, batch_size=10)

    train_dataloader = val_dataloader = test_dataloader = _loader
"""


@pytest.fixture
def strangers_file(tmp_path, monkeypatch):
    name = f"strangers_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_strangers_lightning_module_in_a_file_beside_the_user(strangers_file):
    made = draft(*QUICK, f"task._target_={strangers_file}.Lit", "+task.width=7", task="custom")
    assert type(made.task).__name__ == "Lit"
    assert made.task.net[1].out_features == 7
    assert made.adapter.modality == "image"
    fit(made)


def test_a_strangers_model_in_our_task(strangers_file):
    made = draft(
        *QUICK, f"model._target_={strangers_file}.Net", "+model.classes=10", "+model.bias=false", model="custom"
    )
    assert type(made.task.model).__name__ == "Net"
    fit(made)


def test_a_strangers_data_in_our_task(strangers_file):
    words = ("model.input_shape=[1,8,8]", "model.classes=10", "model.mean=0", "model.std=1", "task.classes=10")
    choice = (f"data._target_={strangers_file}.Data", "+data.count=50", "task.modality=image")
    made = draft(*QUICK, *words, *choice, data="custom")
    assert made.data.count == 50
    assert made.adapter.bounds is None
    fit(made)


def test_everything_by_strangers(strangers_file):
    choice = (f"data._target_={strangers_file}.Data", f"task._target_={strangers_file}.Lit", "+task.width=7")
    made = draft(*QUICK, *choice, "task.modality=image", data="custom", task="custom")
    fit(made)


def test_a_stranger_without_a_modality_is_asked_for_one(strangers_file):
    choice = (f"data._target_={strangers_file}.Data", f"task._target_={strangers_file}.Lit", "+task.width=7")
    with pytest.raises(Refused, match="what the inputs are") as caught:
        draft(*choice, data="custom", task="custom")
    assert caught.value.problems[0].fix == "task.modality=image"


def test_an_adapter_of_ones_own():
    scoring = "{_target_:steelyard.adapters.ClassScoring}"
    node = f"{{_target_:steelyard.adapters.TableAdapter,scoring:{scoring},bounds:null}}"
    assert draft(f"task.adapter={node}").adapter.modality == "table"


@pytest.mark.parametrize("group", ["data", "model", "task"])
def test_custom_without_a_class_is_refused(group):
    with pytest.raises(Refused) as caught:
        draft(**{group: "custom"})
    assert f"{group}._target_=" in caught.value.problems[0].fix


def test_loggers():
    assert composed().logger is None
    node = composed(logger="csv").logger
    assert OmegaConf.is_missing(node, "save_dir")
