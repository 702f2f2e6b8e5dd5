"""The LightningCLI door: the same runs, the same weights, the same refusals."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor

from steelyard import folder, ranks, registry
from steelyard.cli import main
from steelyard.composing import compose, options_of, stored
from steelyard.door import to_lightning, to_run
from steelyard.door.entering import enter
from steelyard.problem import Refused
from steelyard.spec import plain, spec_hash

ROOT = Path(__file__).parents[3]
BARE = ["compute=none", "privacy=none", "interpretability=none", "stability=none", "trainer.max_epochs=1"]
PRIVATE = [*BARE, "privacy=dp_sgd", "privacy.dp_sgd.noise_seed=0"]
QUIET = ["trainer.enable_progress_bar=false"]


def composed(*words: str) -> dict[str, Any]:
    return plain(compose(*words).config)


def written(config: dict[str, Any], place: Path) -> str:
    path = place / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def entered(config: dict[str, Any], *words: str) -> dict[str, Any]:
    return plain(enter("fit", [f"--config={yaml.safe_dump(config)}\n", *words]).config)


def made(run: Callable[[], int], workdir: Path) -> Path:
    outputs = workdir / "outputs"
    # Plugins may keep files of their own beside the run folders.
    before = set(outputs.glob("*/"))
    # 1: done, but few steps do not meet what an experiment requires.
    assert run() in (0, 1)
    (new,) = set(outputs.glob("*/")) - before
    return new


def weights(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def both_doors(words: Sequence[str], workdir: Path) -> tuple[Path, Path]:
    one = made(lambda: main(["run", *words]), workdir)
    other = made(lambda: main(["lightning", "fit", "--config", str(one / "config.yaml")]), workdir)
    return one, other


EXPERIMENTS = list(options_of("experiment"))
LIGHT = ["none", "private", "mlp_one_cycle", "keras", "sentiment"]
EACH = [name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]
"""The others import libraries that take seconds."""


@pytest.mark.parametrize("name", EACH)
def test_there_and_back_is_the_config(name: str) -> None:
    config = compose(f"experiment={name}").config
    # What refers to something within the config has its value in its place.
    followed = {name: OmegaConf.to_container(config[name], resolve=True) for name in ("data", *registry.challenges())}
    assert to_run(to_lightning(plain(config))) == {**plain(config), **followed}


@pytest.mark.parametrize("name", ["none", "private", "keras", "mlp_one_cycle"])
def test_a_config_has_the_same_spec_at_both_doors(name: str) -> None:
    config = compose(f"experiment={name}").config
    there = enter("fit", [f"--config={OmegaConf.to_yaml(config)}\n"])
    assert spec_hash(there.config) == spec_hash(config)


@pytest.mark.parametrize("words", [[*BARE, *QUIET], [*PRIVATE, *QUIET]])
def test_both_doors_give_the_same_bits(words: list[str], workdir: Path) -> None:
    one, other = both_doors(words, workdir)
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())
    assert folder.read_json(one / "provenance.json")["spec"] == folder.read_json(other / "provenance.json")["spec"]
    assert folder.read_json(other / "provenance.json")["command"].startswith("steelyard lightning fit --config=")


@pytest.mark.slow
# Keras 3 in numpy's outdated way.
@pytest.mark.filterwarnings("ignore:.*__array__ implementation doesn't accept a copy.*:DeprecationWarning")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_both_doors_give_the_same_bits_for_every_experiment(name: str, workdir: Path) -> None:
    # DP-SGD draws its batches itself, and takes no other limit.
    limited = ("val", "test") if name == "private" else ("train", "val", "test")
    few = [f"trainer.limit_{split}_batches=2" for split in limited]
    chosen = [f"experiment={name}", "hydra.mode=RUN", *(PRIVATE if name == "private" else BARE)]
    file = compose(*chosen).config.data.get("path")
    if file is not None and not Path(file).is_absolute():
        found = (ROOT / file).resolve()
        if not found.exists():
            pytest.skip(f"{found.name} is not here")
        few.append(f"data.path={found}")
    one, other = both_doors([*chosen, *QUIET, *few], workdir)
    assert all(torch.equal(value, weights(other)[key]) for key, value in weights(one).items())


def test_a_chosen_class_takes_nothing_from_the_one_before() -> None:
    config = composed("optimizer=sgd", "optimizer.lr=0.3")
    there = entered(config, "--model.optimizer", "torch.optim.AdamW")
    assert there["optimizer"] == {"_target_": "torch.optim.AdamW", "_partial_": True}
    short = entered(config, "--model.optimizer=AdamW", "--model.optimizer.lr=0.3")
    assert short["optimizer"] == {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.3}
    own = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    assert own.defaults["weight_decay"] == 0.01
    assert composed("optimizer=sgd", "optimizer=adamw")["optimizer"]["weight_decay"] == 0.01


def test_a_later_file_of_another_class_takes_nothing_either(workdir: Path) -> None:
    first = written(composed("optimizer=sgd"), workdir)
    second = workdir / "more.yaml"
    second.write_text("model: {init_args: {optimizer: {class_path: torch.optim.AdamW}}}")
    there = plain(enter("fit", ["--config", first, "--config", str(second)]).config)
    assert there["optimizer"] == {"_target_": "torch.optim.AdamW", "_partial_": True}
    assert there["model"] == composed()["model"]


def test_the_same_class_keeps_its_options() -> None:
    there = entered(composed("optimizer=sgd"), "--model.optimizer=SGD", "--model.optimizer.lr=0.3")
    assert there["optimizer"]["momentum"] == 0.9
    assert there["optimizer"]["lr"] == 0.3


def test_plugins_are_chosen_and_set_by_words() -> None:
    config = composed(*BARE)
    there = entered(config, "--privacy", "[dp_sgd,membership]", "--privacy.dp_sgd.target_epsilon", "3")
    expected = composed("privacy=[dp_sgd,membership]", "privacy.dp_sgd.target_epsilon=3")["privacy"]
    assert there["privacy"] == expected
    assert entered(composed("experiment=private"), "--privacy=none")["privacy"] == {}
    with pytest.raises(Refused, match="did you mean target_epsilon"):
        entered(config, "--privacy.dp_sgd.target_epsilom=3")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "deepspeed"])
def test_gpus_are_asked_for_as_at_the_other_door(strategy: str) -> None:
    """What comes of them is known where the run is launched, which is one place for both doors."""
    words = ["--trainer.accelerator=gpu", "--trainer.devices=4", f"--trainer.strategy={strategy}"]
    there = entered(composed(*BARE), *words)["trainer"]
    asked = [f"trainer={strategy}", "trainer.accelerator=gpu", "trainer.devices=4", f"trainer.strategy={strategy}"]
    assert there == composed(*BARE, *asked)["trainer"]
    assert ranks.count(there) == 4


@pytest.mark.slow
def test_two_processes_train_the_same_at_both_doors(workdir: Path) -> None:
    many = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    config = written(composed(*BARE, *QUIET), workdir)
    one = made(lambda: main(["lightning", "fit", "--config", config, *many]), workdir)
    other = made(lambda: main(["run", *BARE, *QUIET, "trainer=ddp", "trainer.devices=2"]), workdir)
    (note,) = folder.read_json(one / "scorecard.json")["notes"]
    assert note.startswith("trained by 2 processes")
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def test_words_alone_leave_to_the_data_what_it_knows() -> None:
    there = plain(enter("fit", ["--model=Classification", "--model.model=MLP", "--data=Digits"]).config)
    assert there["task"]["classes"] == "???"
    assert there["model"]["input_shape"] == "???"


@pytest.mark.slow
def test_a_fresh_process_knows_our_classes_by_their_last_names(workdir: Path) -> None:
    words = ["--model=Classification", "--model.model=MLP", "--model.optimizer=Lion", "--data=Digits"]
    done = subprocess.run(
        [sys.executable, "-m", "steelyard", "lightning", "fit", *words, "--print_config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "class_path: steelyard.tasks.Classification" in done.stdout


def test_a_wrong_value_is_named_before_anything_runs() -> None:
    with pytest.raises(Refused, match=r'(?s)Parser key "l1".*Got value: abc'):
        entered(composed(), "--model.l1=abc")
    with pytest.raises(Refused, match="'steps' is not accepted"):
        entered(composed(), "--model.steps=3")
    with pytest.raises(Refused, match="there is no config"):
        enter("fit", ["--config", "nowhere.yaml"])
    with pytest.raises(Refused, match="needs the weights"):
        enter("test", [f"--config={yaml.safe_dump(composed())}\n"])


OWNED = {"_target_": "os.system", "command": "touch owned"}


@pytest.mark.parametrize("part", ["task.adapter", "model", "optimizer", "task", "data", "trainer.callbacks", "logger"])
def test_os_system_is_refused_at_both_doors(part: str, workdir: Path) -> None:
    config = composed(*BARE, *QUIET)
    *above, name = part.split(".")
    node = config
    for step in above:
        node = node[step]
    node[name] = [OWNED] if name == "callbacks" else OWNED
    path = written(config, workdir)
    assert main(["run", f"config={path}"]) == 2
    assert main(["lightning", "fit", "--config", path]) == 2
    assert not (workdir / "owned").exists()


def test_a_config_of_either_door_runs_again_at_the_hydra_door(workdir: Path) -> None:
    one = made(lambda: main(["lightning", "fit", "--config", written(composed(*BARE, *QUIET), workdir)]), workdir)
    other = made(lambda: main(["run", f"config={one}/config.yaml"]), workdir)
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())
    again = stored(one / "config.yaml", ["seed=3", "optimizer.lr=0.5"]).config
    assert (again.seed, again.optimizer.lr) == (3, 0.5)
    with pytest.raises(Refused, match="did you mean lr"):
        stored(one / "config.yaml", ["optimizer.lrr=0.5"])
    with pytest.raises(Refused, match="brings a whole one"):
        stored(one / "config.yaml", ["optimizer=sgd"])
    with pytest.raises(Refused, match="one value to one key"):
        stored(one / "config.yaml", ["seed=1,2"])


def test_test_validate_and_predict_look_at_a_checkpoint(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = made(lambda: main(["run", *BARE, *QUIET]), workdir)
    common = ["--config", str(one / "config.yaml"), "--ckpt_path", str(one / "checkpoints" / "last.ckpt")]
    other = made(lambda: main(["lightning", "test", *common]), workdir)
    first, second = (folder.read_json(run / "scorecard.json")["sections"][0] for run in (one, other))
    assert first["measurements"] == second["measurements"]
    capsys.readouterr()
    assert main(["lightning", "validate", *common]) == 0
    assert "val_accuracy" in capsys.readouterr().out
    place = made(lambda: main(["lightning", "predict", *common]), workdir)
    outputs = torch.cat(torch.load(place / "predictions.pt", weights_only=True))
    assert outputs.shape == (359, 10)


def test_print_config_shows_the_defaults_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        enter("fit", [f"--config={yaml.safe_dump(composed())}\n", "--print_config"])
    assert not leaving.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.Adam"
    assert "betas" in printed["model"]["init_args"]["optimizer"]["init_args"]


def test_what_class_path_cannot_say_is_refused() -> None:
    config = composed()
    config["model"]["_args_"] = [1]
    with pytest.raises(Refused, match="_args_"):
        to_lightning(config)
    with pytest.raises(Refused, match="seed_everything"):
        to_run({"seed_everything": True})


def test_fit_goes_on_from_a_checkpoint(workdir: Path) -> None:
    one = made(lambda: main(["run", *BARE, *QUIET]), workdir)
    common = ["--config", str(one / "config.yaml"), "--ckpt_path", str(one / "checkpoints" / "last.ckpt")]
    other = made(lambda: main(["lightning", "fit", *common, "--trainer.max_epochs=2"]), workdir)
    steps = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] for run in (one, other)]
    assert steps[1] == 2 * steps[0]
