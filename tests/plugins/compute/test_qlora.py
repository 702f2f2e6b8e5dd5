"""LoRA on a model in four bits, against LoRA on the rounded weights in whole numbers."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from helpers import tiny
from private_runs import Task, data, fit, weights
from steelyard import assembly, experiment
from steelyard.draft import Draft
from steelyard.estimating.rehearsal import rehearse
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.tasks import Classification
from steelyard.testing import PluginSuite
from steelyard_compute import LoRA, QLoRA
from steelyard_compute._four_bits import FourBitEmbedding, FourBitMatrix, kept
from steelyard_compute._normal_float import nf4
from steelyard_privacy import DPSGD


class TestQLoRA(PluginSuite):
    plugin = QLoRA(rank=2, block=4, dropout=0.1, full=("*.bias",), merge=True)


def chosen(plugin: LoRA) -> Selected:
    return Selected(f"compute.{plugin.called}", plugin)


class Words(nn.Module):
    """All kinds of layers, trained ones among them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(20, 64)
        self.turned = Conv1D(32, 64)
        self.fused = nn.MultiheadAttention(32, 2, batch_first=True)
        self.plain = nn.Linear(32, 64, bias=False)
        self.tied = nn.Linear(64, 20, bias=False)
        self.tied.weight = self.words.weight
        self.head = nn.Linear(20, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        states = self.turned(self.words((inputs.flatten(1)[:, :6] * 20).long().clamp(0, 19)))
        states = states + self.fused(states, states, states)[0]
        return self.head(self.tied(self.plain(states)).mean(dim=1))


def drafted(model: nn.Module) -> Draft:
    draft = tiny.draft()
    draft.task = Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.1), classes=10)
    return draft


def adapted(plugin: LoRA, model: nn.Module | None = None) -> nn.Module:
    draft = drafted(Words() if model is None else model)
    preflight([chosen(plugin)], draft)
    assembly.attach([chosen(plugin)], draft)
    return draft.task


def rounded_by_hand(*names: str) -> Words:
    model = Words()
    with torch.no_grad():
        for name in names:
            weight = model.get_parameter(f"{name}.weight")
            weight.copy_(nf4(weight, double=True).values())
    return model


OPTIONS: dict[str, Any] = {"rank": 3, "full": ("model.head.*", "*.bias")}


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", [QLoRA, partial(QLoRA, embeddings=True, layers=("model.plain",))])
def test_training_is_that_of_lora_on_the_rounded_weights(kind: Any, mixed: bool) -> None:
    few = kind(**OPTIONS)
    task = adapted(few)
    whole = adapted(LoRA(**OPTIONS, layers=few.layers), rounded_by_hand("turned", "plain"))
    assert {name.removesuffix(".base_layer") for name in kept(task)} == {"model.turned", "model.plain"}
    torch.manual_seed(0)
    inputs, targets = torch.rand(16, 1, 8, 8), torch.randint(10, (16,))
    for one in (task, whole):
        optimizer = torch.optim.SGD([weight for weight in one.parameters() if weight.requires_grad], lr=0.5)
        for _ in range(4):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = functional.cross_entropy(one(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    expected = {name: weight for name, weight in whole.named_parameters() if weight.requires_grad}
    found = {name: weight for name, weight in task.named_parameters() if weight.requires_grad}
    assert found.keys() == expected.keys()
    # Sums in 16 bits may be taken in another order.
    bounds = {"rtol": 0.1, "atol": 0.01} if mixed else {"rtol": 1e-4, "atol": 1e-5}
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], **bounds)


def tables() -> nn.Module:
    torch.manual_seed(2)
    return nn.ModuleDict({"a": nn.Embedding(9, 128), "b": nn.Embedding(9, 32), "c": nn.Linear(8, 8)})


def test_embeddings_are_kept_in_four_bits_where_that_is_asked_for_and_rows_are_whole_blocks() -> None:
    assert [*kept(adapted(QLoRA(), tables()))] == ["model.c.base_layer"]
    task = adapted(QLoRA(embeddings=True), tables())
    assert {name: type(layer) for name, layer in kept(task).items()} == {
        "model.a": FourBitEmbedding,
        "model.c.base_layer": FourBitMatrix,
    }
    numbers = torch.tensor([[1, 8], [0, 1]])
    assert task.model["a"](numbers).equal(nf4(tables()["a"].weight, double=True).values()[numbers])
    beside = adapted(QLoRA(embeddings=True, layers=("model.a", "model.c")), tables())
    assert [*kept(beside)] == ["model.c.base_layer"]


def test_private_training_equals_one_example_at_a_time() -> None:
    found, ways = [], list[Any](("auto", "microbatch"))
    for way in ways:
        torch.manual_seed(0)
        task = Task(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
        draft = drafted(nn.Identity())
        draft.task = task
        # One bias is trained in a layer that no rule knows.
        assembly.attach([chosen(QLoRA(rank=2, block=4, full=("model.0.bias",)))], draft)
        before = weights(task)
        plugin = DPSGD(noise_multiplier=0.7, target_epsilon=None, max_grad_norm=0.5, noise_seed=7, engine=way)
        fitted = fit(plugin, task, data(48, batch_size=12), max_epochs=1)
        assert not weights(fitted.task).equal(before)
        found.append(weights(fitted.task))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_a_plan_counts_the_bits_and_nothing_whole_is_kept_for_the_way_back() -> None:
    def estimate(*plugins: LoRA) -> Any:
        draft = tiny.draft(data={"batch_size": 8})
        draft.task.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 512), nn.Linear(512, 512), nn.Linear(512, 512))
        return rehearse([chosen(plugin) for plugin in plugins], draft)

    plain, few = estimate(LoRA(rank=1)), estimate(QLoRA(rank=1))
    weights = 64 * 512 + 2 * 512 * 512
    blocks = weights / 64
    saved = 4 * weights - (weights / 2 + blocks + 4 * (3 + 2 + 2 * 16))
    assert plain.memory["weights"] - few.memory["weights"] == pytest.approx(saved, abs=16)
    # At the fullest moment one matrix is whole, and its product is written.
    assert few.tensor_bytes < plain.tensor_bytes - saved + 3 * 4 * 512 * 512
    assert (few.flops, few.parameters, few.trainable) == (plain.flops, plain.parameters, plain.trainable)


def test_the_finished_run_tells_what_was_saved_and_can_be_weighed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = []
    for merge in (False, True):
        plugin = chosen(QLoRA(merge=merge, full=("model.layers.4.bias",)))
        card = tiny.run(monkeypatch, tmp_path, plugin, folder_name=f"{merge}", optimizer={"lr": 0.01})
        found.append(card)
    beside, added = found
    assert added["task.loss"].value == pytest.approx(beside["task.loss"].value, rel=1e-5)
    count = 64 * 128 + 128 * 10
    size = beside["compute.qlora.frozen_size"]
    # Two numbers for the scales of each layer.
    assert size.value == (count / 2 + count / 64 + 2 * 8) / 2**20
    assert size.note.startswith(f"{4 * count / 2**20:.4g} before; 4.1")
    assert "2 layers are whole again" in added["compute.qlora.frozen_size"].note
    before = [weight for name, weight in tiny.weights(tiny.draft().task).items() if name.endswith("weight")]
    errors = [nf4(weight, double=True).values() - weight for weight in before]
    share = (sum(e.square().sum() for e in errors) / sum(w.square().sum() for w in before)).sqrt()
    assert beside["compute.qlora.rounding_error"].value == pytest.approx(float(share), rel=1e-4)
    assert beside["compute.qlora.moved_layers"].value == 2
    state = torch.load(tmp_path / "False/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert state["model.layers.2.base_layer.pairs"].shape == (64 * 128 // 2,)
    assert "model.layers.2.base_layer.weight" not in state
    weighed = experiment.weigh(
        tiny.config(), ckpt=tmp_path / "True/checkpoints/last.ckpt", choices={}, overrides=[], outputs=tmp_path
    )
    assert weighed["task.loss"].value == pytest.approx(added["task.loss"].value, rel=1e-5)


def test_a_number_format_of_16_bits_leaves_the_four_alone() -> None:
    task = adapted(QLoRA())
    before = {name: layer.packed for name, layer in kept(task).items()}
    task.to(torch.bfloat16)
    for name, layer in kept(task).items():
        assert layer.weight.equal(before[name].values())
        rows, columns = layer.weight.shape
        inputs = torch.randn(3, 5, rows if "turned" in name else columns).bfloat16()
        assert layer(inputs).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        ([LoRA(), QLoRA()], "another plugin has put small matrices on the model already"),
        ([QLoRA(layers=("model.fused.out_proj",), full=("model.*",))], "reads its weights without calling it"),
        ([QLoRA(block=7)], "block is 7, must be even"),
        ([QLoRA(layers=("modle.head",))], "no layer is called 'modle.head'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_paste(plugins: list[LoRA], words: str) -> None:
    draft = drafted(Words())
    selected = [chosen(plugin) for plugin in plugins]

    def start() -> None:
        preflight(selected, draft)
        assembly.attach(selected, draft)

    with pytest.raises(Refused, match=words) as caught:
        start()
    assert caught.value.problems[0].fix.startswith(f"compute{'=' if len(plugins) > 1 else '.'}{plugins[-1].called}")


def test_a_model_of_which_nothing_can_be_rounded_is_refused() -> None:
    with pytest.raises(Refused, match="no linear layer is frozen"):
        adapted(QLoRA(layers=("model.0",)), nn.Sequential(nn.Conv1d(3, 3, 1)))
    model = nn.Sequential(nn.Linear(4, 4))
    nn.init.constant_(model[0].weight, float("nan"))
    with pytest.raises(Refused, match=r"model.0.base_layer: its weights are not finite"):
        adapted(QLoRA(), model)
