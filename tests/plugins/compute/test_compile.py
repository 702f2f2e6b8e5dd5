"""Layers under torch.compile while a step runs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from steelyard import assembly
from steelyard.adapters import ClassScoring, TextAdapter
from steelyard.measurement import Status
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.testing import PluginSuite
from steelyard_compute import Checkpointing, Compile, Cost
from steelyard_compute import _compile as compiling
from steelyard_privacy import DPSGD

LEVER = Selected("compute.compile", Compile(backend="aot_eager"))
DP = Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=0))


class TestCompile(PluginSuite):
    plugin = Compile(backend="aot_eager")


def weights_of(place: Path) -> dict[str, torch.Tensor]:
    return torch.load(place / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("beside", [[Selected("compute.cost", Cost())], [DP]])
def test_training_comes_to_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, beside: list[Selected]
) -> None:
    plain = tiny.run(monkeypatch, tmp_path, *beside, folder_name="plain")
    card = tiny.run(monkeypatch, tmp_path, *beside, LEVER, folder_name="compiled")
    for name, weight in weights_of(tmp_path / "plain").items():
        torch.testing.assert_close(weights_of(tmp_path / "compiled")[name], weight, rtol=1e-4, atol=1e-6)
    row = card["compute.compile.compile_seconds"]
    assert row.status is Status.MEASURED
    # A step whose operations are counted runs as it is written.
    assert row.count == 6 - (beside != [DP])
    if beside != [DP]:
        assert card["compute.cost.flops_per_step"].value == plain["compute.cost.flops_per_step"].value


def test_code_is_made_inside_of_the_step_alone() -> None:
    draft, seen = tiny.draft(), list[Any]()
    before = draft.task.model.forward

    def backend(graph: Any, inputs: Any) -> Any:
        seen.append(inputs)
        return graph.forward

    lever = compiling.CompileAttachment(Compile(), draft.task, draft.adapter)
    lever._made = {"model": torch.compile(before, backend=backend)}
    draft.steps[next(iter(draft.steps))].append(lever.wrap)
    batch = next(iter(draft.data.train_dataloader()))
    with assembly.wrapped(draft):
        draft.task.training_step(batch, 0)
    assert seen
    assert draft.task.model.forward == before
    assert all("forward" not in vars(module) for module in draft.task.modules())


class Words(torch.nn.Module):
    """The mean of the embeddings that are no padding, through a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        mask = batch["attention_mask"][:, :, None]
        return self.layer((self.embedding(batch["input_ids"]) * mask).sum(dim=1) / mask.sum(dim=1))


@pytest.mark.parametrize(("dynamic", "times"), [(None, 1), (True, 1), (False, 4)])
def test_batches_that_are_padded_are_compiled_once_for_all_lengths(
    monkeypatch: pytest.MonkeyPatch, dynamic: bool | None, times: int
) -> None:
    torch._dynamo.reset()
    graphs, real = list[Any](), torch.compile

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(inputs)
        return graph.forward

    monkeypatch.setattr(
        compiling.torch, "compile", lambda fn, *, dynamic, **_: real(fn, backend=backend, dynamic=dynamic)
    )
    task = torch.nn.ModuleDict({"model": Words()})
    texts = TextAdapter(scoring=ClassScoring(), bounds=None)
    lever = compiling.CompileAttachment(Compile(dynamic=dynamic), task, texts)
    step = lever.wrap(lambda batch, index: task["model"](batch).sum())
    for length in (5, 7, 6, 8):
        step({"input_ids": torch.ones(4, length).long(), "attention_mask": torch.ones(4, length)}, 0)
    assert len(graphs) == times


def test_without_a_compiler_it_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    with pytest.raises(Refused, match=r"no compiler for it here: apt-get install g\+\+"):
        preflight([Selected("compute.compile", Compile())], tiny.draft())
    preflight([LEVER], tiny.draft())


def test_a_pattern_that_does_not_fit_and_another_owner_are_refused() -> None:
    with pytest.raises(Refused, match=r"no layer is called 'body\.\*'"):
        preflight([Selected("compute.compile", Compile(layers=("body.*",)))], tiny.draft())
    with pytest.raises(Refused, match="graph"):
        preflight([LEVER, Selected("compute.checkpointing", Checkpointing())], tiny.draft())


def test_the_private_touch_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seen on torch 2.13.0: if it moves, `_compile.py` is the only file to change.
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watches(TorchDispatchMode):
        pass

    # The flag that torch keeps beside the stack may stay up, and says nothing.
    monkeypatch.setattr("torch.utils._python_dispatch._is_in_torch_dispatch_mode", True)
    assert not compiling.watched()
    with Watches():
        assert compiling.watched()
    assert not compiling.watched()


@pytest.mark.slow
# Importing torch's compiler warns of torch's own scripting.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
def test_machine_code_comes_to_the_same_losses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny.run(monkeypatch, tmp_path, folder_name="plain")
    tiny.run(monkeypatch, tmp_path, Selected("compute.compile", Compile()), folder_name="compiled")
    for name, weight in weights_of(tmp_path / "plain").items():
        torch.testing.assert_close(weights_of(tmp_path / "compiled")[name], weight, rtol=1e-3, atol=1e-5)
