"""Norms and clipped sums of the fast engine against one example at a time, on many kinds of modules."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from private_modules import MODULES, SIGNAL, Apply, attention, head, weight
from private_runs import FEATURES, Task, clipped, data, examples, fit, objective
from steelyard.problem import Refused
from steelyard_privacy import _gathering, _layers
from steelyard_privacy._engine import Engine, HookEngine, MicrobatchEngine, NotCovered
from steelyard_privacy._layers import Layers
from steelyard_privacy._opacus import OpacusEngine
from steelyard_privacy._sums import Layout
from steelyard_privacy.dp_sgd import DPSGD, Way

COUNT = 5
REFERENCE = ("linear", "linear over positions", "LayerNorm", "Embedding", "Conv2d, stride", "GroupNorm", "called twice")


def made(name: str, *, double: bool) -> tuple[nn.Module, Any, Layout]:
    torch.manual_seed(0)
    make, shape = MODULES[name]
    model, (inputs, targets) = make(), examples(COUNT, shape=shape).tensors
    model(inputs)
    if double:
        model, inputs = model.double(), inputs.double()
    return model, (inputs, targets), Layout([one for one in model.parameters() if one.requires_grad])


def compared(engine: Engine, model: nn.Module, batch: Any, layout: Layout, *, digits: float) -> None:
    _, norms = clipped(MicrobatchEngine(), layout, batch, objective(model), max_norm=1.0)
    max_norm = float(norms.median())
    expected, norms = clipped(MicrobatchEngine(), layout, batch, objective(model), max_norm=max_norm)
    found, found_norms = clipped(engine, layout, batch, objective(model), max_norm=max_norm)
    torch.testing.assert_close(found_norms, norms, rtol=digits, atol=digits * max_norm)
    assert float((found - expected).norm()) <= digits * float(expected.norm())


def test_there_are_enough_of_them() -> None:
    assert len(MODULES) >= 60


@pytest.fixture(params=["as they are", "as if they were large"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All modules here are so small that their gradients would be put together."""
    if request.param != "as they are":
        for module in (_gathering, _layers):
            monkeypatch.setattr(module, "SMALL", 0)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("name", list(MODULES))
def test_norms_and_sums_agree_to_ten_digits_in_double_precision(name: str) -> None:
    model, batch, layout = made(name, double=True)
    compared(HookEngine(model, layout), model, batch, layout, digits=1e-10)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("name", list(MODULES))
def test_norms_and_sums_agree_to_five_digits_in_single_precision(name: str) -> None:
    model, batch, layout = made(name, double=False)
    compared(HookEngine(model, layout), model, batch, layout, digits=1e-5)


@pytest.mark.parametrize("name", REFERENCE)
def test_the_hooks_of_opacus_agree_and_leave_no_trace(name: str) -> None:
    model, batch, layout = made(name, double=True)
    before = [set(vars(one)) for one in [*model.modules(), *model.parameters()]]
    hooks = [len(one._forward_hooks) + len(one._backward_hooks) for one in model.modules()]
    compared(OpacusEngine(model, layout), model, batch, layout, digits=1e-10)
    assert [set(vars(one)) for one in [*model.modules(), *model.parameters()]] == before
    assert [len(one._forward_hooks) + len(one._backward_hooks) for one in model.modules()] == hooks
    assert all(one.grad is None for one in model.parameters())


def test_what_opacus_gets_wrong_is_not_covered() -> None:
    """A weight that is used behind its layer's back."""
    model = Apply(
        lambda self, x: self.head(functional.linear(self.inner(x), self.inner.weight)),
        inner=nn.Linear(6, 6),
        head=head(6),
    )
    layout = Layout(list(model.parameters()))
    with pytest.raises(NotCovered):
        clipped(OpacusEngine(model, layout), layout, examples(COUNT).tensors, objective(model), max_norm=1.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transformer", ["3 Linear", "2 LayerNorm", "0.self_attn (MultiheadAttention) by vmap"]),
        ("LSTM", ["1 Linear", "layer (LSTM) by vmap"]),
        ("weight of the task", ["1 Linear", "the task (Apply) by vmap"]),
    ],
)
def test_the_way_of_each_layer_is_told(name: str, expected: list[str]) -> None:
    model, batch, layout = made(name, double=False)
    engine = HookEngine(model, layout)
    clipped(engine, layout, batch, objective(model), max_norm=1.0)
    assert engine.described() == expected


@pytest.mark.parametrize(
    ("name", "ways", "expected"),
    [
        ("LSTM", {"LSTM": "loop"}, ["1 Linear", "layer (LSTM) by loop"]),
        ("mlp, ReLU", {"0": "vmap"}, ["1 Linear", "0 (Linear) by vmap"]),
        (
            "transformer",
            {"Linear": "loop", "0.self_attn": "loop"},
            [
                "2 LayerNorm",
                "0.self_attn (MultiheadAttention) by loop",
                *(f"{path} (Linear) by loop" for path in ("0.linear1", "0.linear2", "2")),
            ],
        ),
    ],
)
def test_the_way_of_each_layer_can_be_set(name: str, ways: dict[str, Way], expected: list[str]) -> None:
    model, batch, layout = made(name, double=True)
    engine = HookEngine(model, layout, ways)
    compared(engine, model, batch, layout, digits=1e-10)
    assert engine.described() == expected


def test_a_way_that_is_set_is_not_left() -> None:
    """A vectorised map cannot ask whether a number is positive."""

    def run(self: Any, inputs: Tensor) -> Tensor:
        return self.head(inputs * self.scale if bool(inputs.sum() > 0) else inputs * -self.scale)

    torch.manual_seed(0)
    model = Apply(run, scale=weight(FEATURES), head=head(FEATURES))
    batch, layout = examples(COUNT).tensors, Layout(list(model.parameters()))
    with pytest.raises(NotCovered, match="the task itself cannot be run again"):
        clipped(HookEngine(model, layout, {"Apply": "vmap"}), layout, batch, objective(model), max_norm=1.0)


def test_a_way_for_what_is_not_there_is_refused() -> None:
    model, _, layout = made("mlp, ReLU", double=False)
    with pytest.raises(Refused, match="Conv9d"):
        HookEngine(model, layout, {"Conv9d": "loop"})
    for engine in ("opacus", "microbatch"):
        with pytest.raises(ValueError, match=f"engine={engine}"):
            DPSGD(engine=engine, ways={"Linear": "loop"})


def test_a_unit_that_draws_random_numbers_is_not_covered() -> None:
    model = Apply(
        lambda self, x: self.head(functional.dropout(x) * self.scale), scale=weight(FEATURES), head=head(FEATURES)
    )
    layout = Layout(list(model.parameters()))
    with pytest.raises(NotCovered):
        clipped(HookEngine(model, layout), layout, examples(COUNT).tensors, objective(model), max_norm=1.0)


def test_what_is_shared_by_chance_with_as_many_rows_as_examples_is_found() -> None:
    def run(self: Any, inputs: Tensor) -> Tensor:
        return self.head(self.inner(inputs, torch.arange(5.0 * 6).view(5, 6) / 30))

    model = Apply(run, head=head(FEATURES), inner=Apply(None, scale=weight(FEATURES)))
    model.inner.forward = lambda inputs, table: inputs * model.inner.scale + table.sum(dim=0)
    layout = Layout(list(model.parameters()))
    with pytest.raises(NotCovered, match="run again"):
        clipped(HookEngine(model, layout), layout, examples(5).tensors, objective(model), max_norm=1.0)


def test_a_mask_with_as_many_rows_as_examples_is_shared() -> None:
    torch.manual_seed(0)
    model, batch = attention(mask=True), examples(4, shape=SIGNAL).tensors
    layout = Layout(list(model.parameters()))
    compared(HookEngine(model, layout), model, batch, layout, digits=1e-5)


def test_examples_of_a_unit_that_cannot_be_told_apart_are_not_covered() -> None:
    model = Apply(lambda self, x: self.head((self.inner(x.T).T + 1) * 2), inner=nn.PReLU(), head=head(FEATURES))
    model.inner = Apply(lambda self, x: x * self.scale, scale=weight(1))
    layout = Layout(list(model.parameters()))
    with pytest.raises(NotCovered, match="inner does not see the examples"):
        clipped(HookEngine(model, layout), layout, examples(COUNT).tensors, objective(model), max_norm=1.0)


def test_one_layer_without_a_rule_leaves_the_others_to_theirs() -> None:
    model, _, layout = made("class token and places", double=False)
    assert Layers(model, layout).described() == ["2 Linear", "the task (Apply) by vmap"]


def test_opacus_trains_a_task_and_refuses_what_it_cannot() -> None:
    fitted = fit(DPSGD(engine="opacus"), Task(), data())
    assert fitted.attachment._choice.name == "opacus (all layers by Opacus' GradSampleModule)"

    class Summed(Task):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return functional.cross_entropy(self(batch[0]), batch[1], reduction="sum")

    with pytest.raises(Refused, match="engine=opacus"):
        fit(DPSGD(engine="opacus"), Summed(), data())
