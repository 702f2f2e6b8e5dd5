"""What only a CUDA GPU can show. Without one everything here is skipped."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from helpers import tiny
from helpers.bits import same
from private_modules import MODULES
from private_runs import Task, clipped, data, examples, fit, objective, replanned, weights
from steelyard import experiment, randomness
from steelyard_compute._clock import Clock, Laps
from steelyard_privacy._engine import HookEngine, MicrobatchEngine
from steelyard_privacy._sums import Layout
from steelyard_privacy.dp_sgd import DPSGD

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")

GPU = ["trainer=gpu", "trainer.enable_progress_bar=false"]
BARE = ["compute=cost", "privacy=none", "interpretability=none", "stability=none", "trainer.max_epochs=1"]
FEW = ["data.limit=300", "data.batch_size=32"]
CUDA = torch.device("cuda", 0)


def steelyard(place: Path, *words: str, code: int = 0) -> str:
    """The command in a process of its own, as processes that have used a GPU cannot be forked."""
    start = "import sys; from steelyard.cli import main; sys.argv[0] = 'steelyard'; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", start, *words], cwd=place, capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def scores(place: Path) -> dict[str, Any]:
    """What `cost` measured in the only run, by name."""
    (path,) = place.glob("outputs/*/scorecard.json")
    (section,) = [one for one in json.loads(path.read_text())["sections"] if one["key"] == "compute.cost"]
    return {row["name"].removeprefix("compute.cost."): row for row in section["measurements"] if not row["at"]}


@pytest.mark.parametrize(
    "words",
    [
        ["privacy=[dp_sgd,membership,canaries]"],
        ["privacy=dp_sgd", "privacy.dp_sgd.engine=opacus"],
        ["privacy=dp_sgd", "privacy.dp_sgd.max_physical_batch_size=8", "model=cnn"],
        ["privacy=dp_sgd", "compute=[cost,precision]", "model=cnn"],
        ["interpretability=[attribution,faithfulness,influence,drift]", "model=cnn"],
        ["interpretability=concepts", "interpretability.concepts.sets=[label:0,label:1]", "model=cnn"],
        ["stability=[noise,adversarial,calibration,certified,corruptions,consistency,drift,outliers]", "model=cnn"],
        ["stability=adversarial_training", "model=cnn"],
        ["stability=train_guard", "model=cnn"],
        ["compute=[cost,lora,accumulation,freeze]"],
        ["compute=[cost,qlora]"],
        ["compute=[cost,optimizer_8bit,quantize,prune]"],
        ["compute=[cost,checkpointing,precision]", "compute.precision.format=bf16-true", "model=cnn"],
        ["compute=[cost,progressive_resize]", "model=resnet"],
        ["compute=[cost,budget]", "compute.budget.kwh=1"],
        ["trainer.precision=16-mixed", "model=cnn"],
        ["trainer=ddp", "trainer.devices=1", "trainer.accelerator=gpu"],
        ["trainer=fsdp2", "trainer.devices=1", "trainer.accelerator=gpu"],
        ["model=keras", "optimizer=compiled"],
        ["model=keras", "optimizer=compiled", "trainer=default", "trainer.accelerator=cpu"],
    ],
    ids=" ".join,
)
def test_a_run_on_a_gpu_ends_with_its_scores(tmp_path: Path, words: list[str]) -> None:
    steelyard(tmp_path, "run", *BARE, *FEW, *GPU, *words)
    on_gpu = words[-1] != "trainer.accelerator=cpu"
    assert ("cuda:0" in scores(tmp_path)["step_seconds"]["note"]) == on_gpu


def test_its_energy_is_measured_and_its_memory_is_that_of_the_gpu(tmp_path: Path) -> None:
    pytest.importorskip("pynvml")
    steelyard(tmp_path, "run", *BARE, *GPU, "compute.cost.predict=true", "trainer.max_epochs=10")
    found = scores(tmp_path)
    assert found["energy"]["status"] == "measured"
    assert found["energy"]["value"] > 0
    assert "NVML" in found["energy"]["note"]
    assert "tensors on NVIDIA" in found["peak_memory"]["note"]
    assert found["predicted_memory"]["value"] == pytest.approx(found["peak_memory"]["value"], rel=0.05)


def test_trials_of_a_sweep_and_the_probe_of_a_plan_find_a_gpu_that_nobody_has_woken(tmp_path: Path) -> None:
    said = steelyard(tmp_path, "run", "-m", *BARE, *FEW, *GPU, "seed=0,1,2")
    assert "3 trials: all done" in said
    assert "about" in steelyard(tmp_path, "plan", *BARE, *FEW, *GPU, "plan.probe=true")
    assert "2 trials" in steelyard(tmp_path, "plan", "-m", *BARE, *FEW, *GPU, "plan.probe=true", "seed=0,1")


def test_a_run_on_the_cpu_leaves_the_gpu_asleep(tmp_path: Path) -> None:
    words = [*BARE, *FEW, "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "privacy=dp_sgd"]
    program = (
        "import sys, torch; from steelyard.cli import main\n"
        f"assert main(['run', *{words!r}]) == 0\n"
        "assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def test_the_streams_of_a_gpu_come_back() -> None:
    torch.manual_seed(3)
    first = torch.rand(4, device=CUDA)
    expected = torch.rand(4, device=CUDA)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4, device=CUDA), first)
    with randomness.forked():
        torch.manual_seed(9)
        torch.rand(7, device=CUDA)
    assert torch.equal(torch.rand(4, device=CUDA), expected)


def test_streams_of_a_gpu_that_sleeps_begin_where_they_would_have(tmp_path: Path) -> None:
    program = (
        "import sys, torch; from steelyard import randomness\n"
        "torch.manual_seed(3)\n"
        "with randomness.forked():\n"
        "    torch.manual_seed(9)\n"
        "    {inside}\n"
        "print(torch.rand(4, device='cuda').tolist())"
    )
    torch.manual_seed(3)
    expected = str(torch.rand(4, device=CUDA).tolist())
    for inside in ("pass", "torch.rand(5, device='cuda')"):
        words = [sys.executable, "-c", program.format(inside=inside)]
        assert subprocess.check_output(words, cwd=tmp_path, text=True).strip() == expected


def test_a_resumed_run_ends_with_the_same_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = {"_target_": "steelyard.models.MLP", "dropout": 0.3, "hidden": [16]}
    trainer = {"max_epochs": 4, "accelerator": "gpu", "deterministic": True}
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    tiny.run(monkeypatch, tmp_path, folder_name="whole", model=model, trainer=trainer)
    halt = [{"_target_": "helpers.poison.Halt", "hook": "on_before_backward", "step": 7}]
    with pytest.raises(OSError, match="halted"):
        tiny.run(monkeypatch, tmp_path, folder_name="broken", model=model, trainer={**trainer, "callbacks": halt})
    experiment.resume(tmp_path / "broken")
    whole, resumed = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("whole", "broken")
    )
    for part in ("state_dict", "optimizer_states", "global_step"):
        assert same(whole[part], resumed[part]), part


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", list(MODULES))
def test_clipped_sums_agree_with_one_example_at_a_time_in_double_precision(name: str) -> None:
    torch.manual_seed(0)
    make, shape = MODULES[name]
    model, batch = make(), examples(5, shape=shape).tensors
    model(batch[0])
    model, inputs, targets = model.double().to(CUDA), batch[0].to(CUDA), batch[1].to(CUDA)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    layout = Layout([one for one in model.parameters() if one.requires_grad])
    _, norms = clipped(MicrobatchEngine(), layout, (inputs, targets), objective(model), max_norm=1.0)
    most = float(norms.median())
    expected, norms = clipped(MicrobatchEngine(), layout, (inputs, targets), objective(model), max_norm=most)
    found, found_norms = clipped(HookEngine(model, layout), layout, (inputs, targets), objective(model), max_norm=most)
    torch.testing.assert_close(found_norms, norms, rtol=1e-10, atol=1e-10 * most)
    assert float((found - expected).norm()) <= 1e-10 * float(expected.norm())


def test_private_steps_have_noise_of_the_size_that_was_promised() -> None:
    """So much that all that moves the weights in one step is noise."""
    multiplier, norm, lr, batch = 30.0, 0.5, 0.1, 64
    task = Task(torch.nn.Sequential(torch.nn.Linear(6, 200), torch.nn.Tanh(), torch.nn.Linear(200, 3)), lr=lr)
    before = weights(task)
    plugin = DPSGD(target_epsilon=None, noise_multiplier=multiplier, max_grad_norm=norm)
    fit(plugin, task, data(64, batch_size=batch), max_epochs=1, accelerator="gpu")
    moved = (weights(task).cpu() - before.cpu()) * batch / lr
    assert float(moved.std()) == pytest.approx(multiplier * norm, rel=0.1)


def test_the_marks_of_a_gpu_time_what_it_does() -> None:
    """Work that is handed over in no time and takes long: the clock of the processor would not see it."""
    matrix = torch.randn(4096, 4096, device=CUDA)
    clock = Clock()
    laps = Laps(clock, CUDA)
    for products in (1, 1, 40):
        began = laps.mark()
        for _ in range(products):
            torch.mm(matrix, matrix)
        laps.add(began, laps.mark(), examples=2)
    laps.settle()
    assert clock.examples == 6
    assert len(clock.steps) == 3
    assert clock.steps[2] > 10 * clock.steps[1] > 0


def test_private_steps_on_a_gpu_are_those_on_the_cpu() -> None:
    """Without noise, and with the same examples drawn."""

    class OnGpu(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert pl_module.device.type == "cuda"

    found: list[Tensor] = []
    for accelerator, callbacks in (("gpu", (OnGpu(),)), ("cpu", ())):
        torch.manual_seed(0)
        task = Task()
        plugin = DPSGD(target_epsilon=None, noise_multiplier=1.0, noise_seed=0)
        quiet = partial(replanned, noise_multiplier=0.0)
        fit(plugin, task, data(), accelerator=accelerator, callbacks=callbacks, prepare=quiet)
        found.append(weights(task).cpu())
    assert float((found[0] - found[1]).norm()) < 1e-4 * float(found[1].norm())


def test_the_other_door_trains_on_a_gpu(tmp_path: Path) -> None:
    steelyard(tmp_path, "run", *BARE, *FEW, *GPU)
    (config,) = tmp_path.glob("outputs/*/config.yaml")
    steelyard(
        tmp_path, "lightning", "fit", "--config", str(config), "--trainer.devices", "1", "--trainer.strategy", "ddp"
    )
