from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import tiny
from steelyard import assembly, experiment
from steelyard.draft import Draft
from steelyard.measurement import Status
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.tasks import Classification
from steelyard.testing import PluginSuite
from steelyard_compute import LoRA
from steelyard_privacy import DPSGD


class TestLoRA(PluginSuite):
    plugin = LoRA(rank=2, dropout=0.1, full=("*.bias",), merge=True)


def chosen(plugin: LoRA) -> Selected:
    return Selected("compute.lora", plugin)


def drafted(model: nn.Module) -> Draft:
    draft = tiny.draft()
    draft.task = Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.1), classes=10)
    return draft


def adapted(model: nn.Module, plugin: LoRA) -> Draft:
    draft = drafted(model)
    preflight([chosen(plugin)], draft)
    assembly.attach([chosen(plugin)], draft)
    return draft


def trained(task: nn.Module) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in task.named_parameters() if weight.requires_grad}


def test_the_matrices_add_their_product_and_begin_as_nothing() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(6, 5), torch.randn(7, 6)
    before = layer(inputs)
    draft = adapted(nn.Sequential(layer), LoRA(rank=3, alpha=1.5))
    model = draft.task.model
    assert model(inputs).equal(before)
    (a, first), (b, second) = trained(draft.task).items()
    assert (first, second) == ((3, 6), (5, 3))
    one, two = draft.task.get_parameter(a), draft.task.get_parameter(b)
    nn.init.normal_(two)
    torch.testing.assert_close(model(inputs), before + 1.5 / 3 * inputs @ one.T @ two.T)


def test_the_matrices_are_those_of_the_seed() -> None:
    drawn = []
    for noise in (1, 2):
        draft = drafted(nn.Linear(6, 5))
        torch.manual_seed(noise)
        assembly.attach([chosen(LoRA())], draft)
        drawn.append(next(weight for name, weight in draft.task.named_parameters() if "lora_A" in name))
    assert drawn[0].equal(drawn[1])


def mixed() -> nn.Module:
    return nn.ModuleDict(
        {
            "words": nn.Embedding(9, 4),
            "wave": nn.Conv1d(4, 4, 3),
            "picture": nn.Conv2d(1, 2, 3),
            "head": nn.Linear(4, 2),
            "norm": nn.LayerNorm(4),
            "fused": nn.TransformerEncoderLayer(4, 2, 8),
            "tied": nn.Linear(4, 9, bias=False),
        }
    )


@pytest.mark.parametrize(
    ("plugin", "names"),
    [
        (LoRA(), {"head", "tied"}),
        (LoRA(layers=("model.words", "model.w*", "model.picture")), {"words", "wave", "picture"}),
        (LoRA(full=("model.head.*", "*norm*")), {"tied"}),
    ],
)
def test_layers_are_chosen_by_kind_and_by_name(plugin: LoRA, names: set[str]) -> None:
    draft = adapted(mixed(), plugin)
    found = {name.split(".")[1] for name in trained(draft.task) if "lora_" in name}
    assert found == names
    plain = {name for name in trained(draft.task) if "lora_" not in name}
    whole = {"model.head.weight", "model.head.bias", "model.norm.weight", "model.norm.bias"}
    assert plain == ({name for name in whole} | {n for n in plain if "fused.norm" in n} if plugin.full else set())


def test_layers_that_share_their_weights_get_no_matrices() -> None:
    model = mixed()
    model["tied"].weight = model["words"].weight
    draft = adapted(model, LoRA())
    assert {name.split(".")[1] for name in trained(draft.task)} == {"head"}


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (LoRA(layers=("modle.head",)), "no layer is called 'modle.head'"),
        (LoRA(full=("modle.head.*",)), "no weight is called 'modle.head"),
        (LoRA(layers=("model.norm",)), "model.norm is LayerNorm; matrices stand beside"),
        (LoRA(layers=("model.fused.linear1",)), "TransformerEncoderLayer reads its weights without calling it"),
        (LoRA(layers=("model.fused.self_attn.out_proj",)), "reads its weights without calling it"),
    ],
)
def test_what_cannot_be_adapted_is_refused_by_name(plugin: LoRA, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        preflight([chosen(plugin)], drafted(mixed()))
    assert caught.value.problems[0].fix.startswith("compute.lora.")


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 10, 8), nn.TransformerEncoderLayer(4, 2, 8)])
def test_a_model_without_linear_layers_is_refused(layer: nn.Module) -> None:
    with pytest.raises(Refused, match="no linear layer"):
        preflight([chosen(LoRA())], drafted(nn.Sequential(layer)))


def test_a_model_with_adapters_is_refused() -> None:
    draft = adapted(nn.Sequential(nn.Linear(4, 4)), LoRA())
    with pytest.raises(Refused, match="adapters already"):
        preflight([chosen(LoRA())], draft)


DP = Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=0))


@pytest.mark.parametrize("private", [False, True])
def test_training_moves_the_matrices_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: bool
) -> None:
    before = tiny.weights(tiny.draft().task)
    plugin = chosen(LoRA(rank=2, full=("model.layers.4.bias",)))
    card = tiny.run(monkeypatch, tmp_path, plugin, *([DP] if private else []), folder_name="run")
    after = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    same = {name: after[name.replace(".weight", ".base_layer.weight")] for name in before if name.endswith("weight")}
    assert len(same) == 2
    assert all(weight.equal(before[name]) for name, weight in same.items())
    assert not after["model.layers.4.base_layer.bias"].equal(before["model.layers.4.bias"])
    seconds = [weight for name, weight in after.items() if "lora_B" in name]
    assert len(seconds) == 2
    assert all(weight.any() for weight in seconds)
    # 64 x 128 and 128 x 10 weights, at rank 2, and the last bias.
    count = 2 * (64 + 128) + 2 * (128 + 10) + 10
    assert card["compute.lora.trained_parameters"].value == count
    assert card["compute.lora.trained_size"].value == pytest.approx(4 * count / 2**20)
    moved = card["compute.lora.moved_layers"]
    assert (moved.value, moved.count, moved.status) == (2, 2, Status.MEASURED)
    if private:
        assert card["privacy.dp_sgd.epsilon"].status is Status.MEASURED


def test_merged_weights_answer_the_same_and_can_be_weighed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[Any] = []
    for merge in (False, True):
        plugin = chosen(LoRA(merge=merge))
        card = tiny.run(monkeypatch, tmp_path, plugin, folder_name=f"{merge}", optimizer={"lr": 0.01})
        found.append((card["task.loss"].value, card["compute.lora.moved_layers"].note))
    (loss, beside), (again, added) = found
    assert again == pytest.approx(loss, rel=1e-5)
    assert beside == "rank 8, beside the weights"
    assert added == "rank 8, added to the weights for measuring"
    weighed = experiment.weigh(
        tiny.config(), ckpt=tmp_path / "True/checkpoints/last.ckpt", choices={}, overrides=[], outputs=tmp_path
    )
    assert weighed["task.loss"].value == pytest.approx(loss, rel=1e-5)
    assert weighed["compute.lora.moved_layers"].value == 2


def test_a_layer_that_is_never_called_is_named() -> None:
    draft = drafted(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    draft.task.unused = nn.Linear(3, 3)
    attachment = assembly.attach([chosen(LoRA())], draft)["compute.lora"]
    batch = (torch.rand(4, 1, 8, 8), torch.arange(4))
    draft.task.training_step(batch, 0).backward()
    for weight in draft.task.parameters():
        if weight.grad is not None:
            weight.data -= weight.grad
    rows = {row.name: row for row in attachment.measure(type("Run", (), {"task": draft.task})())}
    assert (rows["moved_layers"].value, rows["moved_layers"].count) == (1, 2)
    assert "still as they began: unused" in rows["moved_layers"].note
