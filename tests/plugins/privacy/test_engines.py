"""Per-example gradients: the fast engine against one example at a time, on many modules; and what it must refuse."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torchmetrics.classification import MulticlassAccuracy

from private_runs import CLASSES, FEATURES, Task, clipped, examples, objective
from steelyard_privacy._clipping import coefficients
from steelyard_privacy._engine import HookEngine, MicrobatchEngine, unsupported
from steelyard_privacy._proof import Engines, doubt
from steelyard_privacy._sums import Layout, Sums

COUNT = 9
IMAGE = (4, 6, 6)
SIGNAL = (4, 12)


class Shared(nn.Module):
    """One layer called twice, by keyword the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, FEATURES)
        self.outer = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(self.inner(input=self.inner(inputs).tanh()))


class Tied(nn.Module):
    """One weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.second(self.first(inputs).relu()))


class Residual(nn.Module):
    """Works in place on what a layer gave, and leaves one layer unused."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        hidden += inputs
        return self.head(hidden.relu_())


class Tokens(nn.Module):
    """Embedding, layer norm and a Linear over every position."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(11, 5), nn.LayerNorm(5)
        self.mix, self.head = nn.Linear(5, 7), nn.Linear(7, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        words = (inputs.abs() * 10).long() % 11
        return self.head(functional.gelu(self.mix(self.norm(self.embedding(words)))).mean(dim=1))


class InPlace(nn.Module):
    """Works in place on what a Linear layer gave for several positions, which is a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(12, 12), nn.Linear(12, CLASSES, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        hidden += inputs
        return self.head(hidden.mul_(2).relu_()).mean(dim=1)


class Scaled(nn.Module):
    """A weight of a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.temperature = nn.Linear(12, CLASSES), nn.Parameter(torch.tensor(1.5))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs).mean(dim=1) * self.temperature


class OneOfThree(nn.Module):
    """Few different tokens, so that each example names them several times."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.flatten(start_dim=1) * 2).round().clamp(-1, 1) / 10


def convolution(**options: Any) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, **options), nn.GroupNorm(2, 8), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(CLASSES)
    )


FAST: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES, bias=False)), (FEATURES,)),
    "shared": (Shared, (FEATURES,)),
    "tied": (Tied, (FEATURES,)),
    "in place": (Residual, (FEATURES,)),
    "tokens": (Tokens, (FEATURES,)),
    "tokens that repeat": (lambda: nn.Sequential(OneOfThree(), Tokens()), SIGNAL),
    "conv": (convolution, IMAGE),
    "conv stride": (lambda: convolution(stride=2, padding=1), IMAGE),
    "conv dilation": (lambda: convolution(dilation=2, padding="same"), IMAGE),
    "conv groups": (lambda: convolution(groups=2, bias=False), IMAGE),
    "conv depthwise": (lambda: convolution(groups=4, padding=1), IMAGE),
    "conv, channels last": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(80, CLASSES)
        ).to(memory_format=torch.channels_last),
        IMAGE,
    ),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(60, CLASSES)), SIGNAL),
    "conv3d": (
        lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv3d(1, 2, 2), nn.Flatten(), nn.Linear(150, CLASSES)),
        IMAGE,
    ),
    "in place on a view": (InPlace, SIGNAL),
    "a single number": (Scaled, SIGNAL),
    "positions": (
        lambda: nn.Sequential(nn.Linear(12, 5), nn.LayerNorm(5), nn.GELU(), nn.Flatten(), nn.Linear(20, CLASSES)),
        SIGNAL,
    ),
}


@pytest.fixture(params=[pytest.param(value, id=name) for name, value in FAST.items()])
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Any]:
    make, shape = request.param
    torch.manual_seed(0)
    model = make()
    batch = examples(COUNT, shape=shape).tensors
    model(batch[0])
    return model, batch


def test_the_fast_engine_equals_one_example_at_a_time(case: tuple[nn.Module, Any]) -> None:
    model, batch = case
    layout = Layout(list(model.parameters()))
    assert unsupported(model, layout) is None
    fast, slow = HookEngine(model, layout), MicrobatchEngine()
    _, norms = clipped(slow, layout, batch, objective(model), max_norm=1.0)
    # A clipping norm that catches some of the examples and not the others.
    max_norm = float(norms.median())
    expected, expected_norms = clipped(slow, layout, batch, objective(model), max_norm=max_norm)
    found, norms = clipped(fast, layout, batch, objective(model), max_norm=max_norm)
    torch.testing.assert_close(norms, expected_norms, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_in_double_precision_they_agree_to_ten_digits(case: tuple[nn.Module, Any]) -> None:
    model, (inputs, targets) = case
    model, batch = model.double(), (inputs.double(), targets)
    layout = Layout(list(model.parameters()))
    fast, slow = HookEngine(model, layout), MicrobatchEngine()
    found, expected = (clipped(one, layout, batch, objective(model), max_norm=0.5)[0] for one in (fast, slow))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_frozen_weight_is_left_out(case: tuple[nn.Module, Any]) -> None:
    model, batch = case
    first = next(iter(model.parameters()))
    first.requires_grad_(False)
    layout = Layout([weight for weight in model.parameters() if weight.requires_grad])
    fast, slow = HookEngine(model, layout), MicrobatchEngine()
    found, expected = (clipped(one, layout, batch, objective(model), max_norm=0.5)[0] for one in (fast, slow))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_weight_outside_the_module_is_left_to_the_slow_one() -> None:
    model = nn.Linear(2, 2)
    assert unsupported(model, Layout([*model.parameters(), nn.Parameter(torch.ones(1))])) is not None


class Functional(nn.Module):
    """Uses a layer's weight behind its back."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(functional.linear(self.embed(inputs), self.embed.weight))


class Mixing(nn.Module):
    """Batch normalisation that no type gives away."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.layer(inputs)
        return self.head((hidden - hidden.mean(dim=0)).relu())


class PositionsFirst(nn.Module):
    """(positions, examples, features): the first dimension is not the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(1, 8), nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs.T[:, :, None]).relu().mean(dim=0))


def doubted(model: nn.Module, loss: Callable[[Task, Any], Tensor] | None = None) -> Any:
    torch.manual_seed(0)
    task = Task(model)
    layout = Layout(list(task.parameters()))
    assert unsupported(task, layout) is None

    def mean_loss(batch: Any) -> Tensor:
        return functional.cross_entropy(task(batch[0]), batch[1]) if loss is None else loss(task, batch)

    batch = examples(12).tensors
    engines = Engines(fast=HookEngine(task, layout), slow=MicrobatchEngine(), sums=Sums(layout))
    return doubt(engines, task=task, batch=batch, count=12, objective=mean_loss)


@pytest.mark.parametrize("model", [Functional(), Mixing(), PositionsFirst()], ids=lambda model: type(model).__name__)
def test_modules_that_would_break_the_guarantee_are_found(model: nn.Module) -> None:
    found = doubted(model)
    assert found is not None
    assert found.final


def summed(task: Task, batch: Any) -> Tensor:
    return functional.cross_entropy(task(batch[0]), batch[1], reduction="sum")


def class_weighted(task: Task, batch: Any) -> Tensor:
    return functional.cross_entropy(task(batch[0]), batch[1], weight=torch.tensor([0.1, 1.0, 5.0]))


def token_mean(task: Task, batch: Any) -> Tensor:
    """The mean over real tokens of the whole batch, as with padding."""
    logits, targets = task(batch[0]), batch[1]
    lengths = (batch[0][:, 0].abs() * 10).long() + 1
    return (functional.cross_entropy(logits, targets, reduction="none") * lengths).sum() / lengths.sum()


def contrastive(task: Task, batch: Any) -> Tensor:
    logits = task(batch[0])
    return functional.cross_entropy(logits @ logits.T, torch.arange(len(logits)))


def penalised(task: Task, batch: Any) -> Tensor:
    l1 = torch.stack([weight.abs().sum() for weight in task.parameters()]).sum()
    return functional.cross_entropy(task(batch[0]), batch[1]) + 0.01 * l1


@pytest.mark.parametrize("loss", [summed, class_weighted, token_mean, contrastive, penalised])
def test_losses_that_are_no_mean_over_examples_are_found(loss: Callable[[Task, Any], Tensor]) -> None:
    found = doubted(nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES)), loss)
    assert found is not None
    assert found.final


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(FEATURES, 8), nn.Dropout(0.5), nn.Linear(8, CLASSES)),
        Shared(),
        Tied(),
        Residual(),
        nn.Sequential(nn.Linear(FEATURES, 8), nn.LayerNorm(8), nn.Linear(8, CLASSES)),
    ],
    ids=["dropout", "shared", "tied", "in place", "layer norm"],
)
def test_modules_that_keep_it_are_not_accused(model: nn.Module) -> None:
    assert doubted(model) is None


def test_doubting_leaves_no_trace() -> None:
    class Tracing(Task):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.seen, self.count = [], 0
            self.metric = MulticlassAccuracy(num_classes=CLASSES)

    def loss(task: Any, batch: Any) -> Tensor:
        task.calls += 1
        task.seen.append(len(batch[0]))
        task.count += 1
        task.metric(torch.zeros(len(batch[0]), CLASSES), batch[1])
        torch.rand(3)
        task.log("never", 1.0)
        return functional.cross_entropy(task(batch[0]), batch[1])

    torch.manual_seed(0)
    task = Tracing()
    task.model[0].eval()
    layout = Layout(list(task.parameters()))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert (
        doubt(
            Engines(fast=HookEngine(task, layout), slow=MicrobatchEngine(), sums=Sums(layout)),
            task=task,
            batch=examples(12).tensors,
            count=12,
            objective=lambda batch: loss(task, batch),
        )
        is None
    )
    assert torch.equal(torch.rand(1), expected)
    assert (float(task.calls), task.seen, task.count) == (0.0, [], 0)
    assert [task.training, task.model.training, task.model[0].training] == [True, True, False]
    assert task.metric.update_count == 0
    assert float(task.metric.tp.sum() + task.metric.fn.sum()) == 0
    assert "log" not in vars(task)
    assert all(weight.grad is None for weight in task.parameters())


def test_coefficients_clip_and_leave_out() -> None:
    norms = torch.tensor([0.0, 0.5, 1.0, 4.0, torch.inf, torch.nan])
    assert coefficients(norms, max_norm=1.0).tolist() == [1.0, 1.0, 1.0, 0.25, 0.0, 0.0]


def test_a_large_embedding_takes_no_more_memory_than_its_own() -> None:
    """Neither a gradient per example nor a row of zeros and a one per word."""
    rows, width, count, length = 100_000, 8, 16, 16
    table = nn.Embedding(rows, width)
    model = nn.Sequential(table, nn.Flatten(), nn.Linear(length * width, CLASSES))
    layout = Layout(list(model.parameters()))
    batch = torch.randint(0, rows, (count, length)), torch.randint(0, CLASSES, (count,))
    found, norms = clipped(MicrobatchEngine(), layout, batch, objective(model), max_norm=0.1)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        other, other_norms = clipped(HookEngine(model, layout), layout, batch, objective(model), max_norm=0.1)
    torch.testing.assert_close(other, found, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other_norms, norms, rtol=1e-5, atol=1e-6)
    table_bytes = 4 * rows * width
    most = max(event.self_cpu_memory_usage for event in seen.key_averages())
    assert table_bytes <= most <= 4 * table_bytes < count * table_bytes
