"""Per-example gradients in the forms that keep only what norms and sums need."""

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import Parameter, functional
from transformers.pytorch_utils import Conv1D

from private_runs import CLASSES, clipped, examples, objective
from steelyard_privacy import _convolution, _engine, _gathering, _layers, _shares
from steelyard_privacy._engine import HookEngine, MicrobatchEngine, add_weighed, is_checked
from steelyard_privacy._shares import Bundle, Instantiated, Products, Reordered, Rows, Share
from steelyard_privacy._sums import Layout, Sums

COUNT = 9
SIGNAL = (4, 12)


class Wide(nn.Module):
    """GPT-2's kind of Linear layer, so wide that pairs of positions are cheaper than the product."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = Conv1D(40, 12), nn.Linear(40, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.first(inputs).tanh()).mean(dim=1)


def hold_to_single_examples(model: nn.Module) -> None:
    """The clipped sum is that of one example at a time, in double precision."""
    model, batch = model.double(), examples(COUNT, shape=SIGNAL).tensors
    batch = (batch[0].double(), batch[1])
    layout = Layout(list(model.parameters()))
    found, expected = (
        clipped(one, layout, batch, objective(model), max_norm=0.1)
        for one in (HookEngine(model, layout), MicrobatchEngine())
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("length", "p", "d", "pairs"),
    [
        (1, 10, 10, True),
        (64, 128, 128, False),  # no larger than the factors
        (64, 384, 128, False),  # half as large again, and quicker
        (64, 1536, 384, True),  # slower
        (128, 768, 768, True),  # three times as large
        (192, 768, 768, False),  # twice as large, and much quicker
    ],
)
def test_pairs_are_taken_where_products_are_slower_or_much_larger(length: int, p: int, d: int, pairs: bool) -> None:
    assert _layers.pairs_are_cheaper(length=length, p=p, d=d) is pairs


@pytest.mark.parametrize("pairs", [True, False])
def test_both_ways_to_the_norm_of_a_product_are_right(monkeypatch: pytest.MonkeyPatch, pairs: bool) -> None:
    monkeypatch.setattr(_layers, "pairs_are_cheaper", lambda **_: pairs)
    monkeypatch.setattr(_layers, "SMALL", 0)
    torch.manual_seed(0)
    hold_to_single_examples(Wide())


@pytest.mark.parametrize("turned", [True, False])
def test_products_are_made_with_the_wider_factor_last(monkeypatch: pytest.MonkeyPatch, turned: bool) -> None:
    for module in (_gathering, _layers):
        monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(_layers, "pairs_are_cheaper", lambda **_: False)
    seen: list[Share] = []
    monkeypatch.setattr(
        _engine, "add_weighed", lambda shares, sums, weights: (seen.extend(shares), add_weighed(shares, sums, weights))
    )
    torch.manual_seed(0)
    first = nn.Linear(12, 20, bias=False) if turned else nn.Linear(12, 7, bias=False)
    model = nn.Sequential(first, nn.Tanh(), nn.Flatten(), nn.Linear(4 * first.out_features, CLASSES))
    hold_to_single_examples(model)
    (share,) = (share for share in seen if share.parameters[0] is first.weight)
    assert isinstance(share, Reordered if turned else Instantiated)
    assert share.samples.shape == (COUNT, *((12, 20) if turned else (7, 12)))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_an_example_without_a_finite_gradient_is_left_out(bad: float) -> None:
    torch.manual_seed(0)
    model, (inputs, targets) = Wide(), examples(COUNT, shape=SIGNAL).tensors
    layout = Layout(list(model.parameters()))
    fast = HookEngine(model, layout)
    others, _ = clipped(fast, layout, (inputs[1:], targets[1:]), objective(model), max_norm=0.1)
    inputs[0] = bad
    found, norms = clipped(fast, layout, (inputs, targets), objective(model), max_norm=0.1)
    assert float((found - others).norm()) <= 0.1 * (1 + 1e-5)
    assert not bool(torch.isfinite(found - others).logical_not().any())
    assert len(norms) == COUNT


def test_examples_that_are_left_out_leave_an_embedding_alone() -> None:
    weight = nn.Parameter(torch.zeros(6, 2))
    names, values = torch.tensor([[1, 1, 2], [3, 1, 0], [5, 5, 5]]), torch.randn(3, 3, 2)
    rows = Rows.of(weight, names, values).only(torch.tensor([0, 2]))
    sums, expected = Sums(Layout([weight])), torch.zeros(6, 2)
    rows.add_to(sums, torch.tensor([2.0, 3.0]))
    for example, factor in ((0, 2.0), (2, 3.0)):
        for name, value in zip(names[example], values[example], strict=True):
            expected[name] += factor * value
    torch.testing.assert_close(sums.total().view(6, 2), expected)
    squares = torch.stack(
        [
            (values[0, 0] + values[0, 1]).square().sum() + values[0, 2].square().sum(),
            values[2].sum(dim=0).square().sum(),
        ]
    )
    torch.testing.assert_close(rows.norms().square(), squares)


def test_a_row_that_an_example_names_often_counts_once_with_its_sum() -> None:
    weight = nn.Parameter(torch.zeros(4, 3))
    names, values = torch.tensor([[3, 0, 3, 3], [1, 1, 1, 1]]), torch.randn(2, 4, 3)
    whole = torch.zeros(2, 4, 3)
    for example in range(2):
        whole[example].index_add_(0, names[example], values[example])
    found = Rows.of(weight, names, values).norms().square()
    torch.testing.assert_close(found, whole.square().sum(dim=(1, 2)))


@pytest.mark.parametrize("length", [1, _shares.LONG - 1, _shares.LONG, _shares.LONG + 1])
@pytest.mark.parametrize("trained", ["both", "weight", "bias"])
def test_norms_by_pairs_are_those_of_the_products(length: int, trained: str) -> None:
    torch.manual_seed(length)
    layer = nn.Linear(3, 2).double()
    back, inputs = torch.randn(4, length, 2).double(), torch.randn(4, length, 3).double()
    weight, bias = (layer.weight if trained != "bias" else None), (layer.bias if trained != "weight" else None)
    squares = torch.zeros(4).double()
    if weight is not None:
        squares += torch.einsum("ntp,ntd->npd", back, inputs).square().sum(dim=(1, 2))
    if bias is not None:
        squares += back.sum(dim=1).square().sum(dim=1)
    found = _shares.Products(weight, bias, back, inputs).norms()
    torch.testing.assert_close(found, squares.sqrt(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("together", [1, 4, COUNT])
@pytest.mark.parametrize(("channels", "wide", "kernel"), [(3, 512, 3), (16, 512, 3), (16, 0, 3), (5, 512, 1)])
def test_convolutions_and_their_norms_may_be_worked_on_some_examples_at_a_time(
    monkeypatch: pytest.MonkeyPatch, together: int, channels: int, wide: int, kernel: int
) -> None:
    for module in (_convolution, _layers):
        monkeypatch.setattr(module, "at_once", lambda *_: together)
    monkeypatch.setattr(_convolution, "WIDE", wide)
    if together < COUNT:
        monkeypatch.setattr(_convolution, "WHOLE", 0)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(channels, 4, kernel, stride=2, padding=kernel // 2),
        nn.GroupNorm(2, 4),
        nn.Flatten(2),
        nn.LayerNorm(9),
        nn.Flatten(),
    ).double()
    batch = (torch.randn(COUNT, channels, 6, 6).double(), torch.randint(0, 36, (COUNT,)))
    layout = Layout(list(model.parameters()))
    found, expected = (
        clipped(one, layout, batch, objective(model), max_norm=0.1)
        for one in (HookEngine(model, layout), MicrobatchEngine())
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "wide", "order"),
    [(3, 0, _convolution.OUTPUTS_LAST), (16, 512, _convolution.CHANNELS_LAST), (16, 0, _convolution.AS_WEIGHT)],
)
def test_gradients_of_a_convolution_say_in_which_order_they_are(
    monkeypatch: pytest.MonkeyPatch, channels: int, wide: int, order: tuple[int, ...]
) -> None:
    monkeypatch.setattr(_convolution, "WIDE", wide)
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 5, (2, 3), stride=(2, 1), padding=(0, 1), dilation=(1, 2)).double()
    inputs = torch.randn(3, channels, 7, 6).double()
    output = layer(inputs)
    back = torch.randn_like(output)
    found = _convolution.convolution_samples(layer, back, inputs)
    assert found.order == order
    grad = torch.autograd.grad
    expected = [grad(output[one], layer.weight, back[one], retain_graph=True)[0] for one in range(len(inputs))]
    torch.testing.assert_close(found.ordered(), torch.stack(expected), rtol=1e-10, atol=1e-12)


def test_sums_are_checked_at_the_beginning_and_ever_more_rarely() -> None:
    assert [step for step in range(2001) if is_checked(step)] == [0, 1, 2, 10, 100, 1000]


class Branches(nn.Module):
    """Behind the first layers stands nothing but a weight that the optimizer does not train."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(12))
        self.first, self.second = nn.Linear(12, 5), nn.Linear(12, 5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((self.first(inputs * self.scale) + self.second(inputs)).tanh()).mean(dim=1)


def test_a_layer_behind_which_nothing_is_asked_for_is_not_overlooked() -> None:
    torch.manual_seed(0)
    model, (inputs, targets) = Branches().double(), examples(COUNT, shape=SIGNAL).tensors
    layout = Layout([weight for name, weight in model.named_parameters() if name != "scale"])
    batch = (inputs.double().requires_grad_(), targets)
    fast = HookEngine(model, layout)
    fast._steps = 5
    assert not is_checked(fast._steps)
    found, expected = (
        clipped(one, layout, batch, objective(model), max_norm=0.1) for one in (fast, MicrobatchEngine())
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_nothing_of_a_pass_is_kept_nor_left_to_the_garbage_collector() -> None:
    model, batch = Wide(), examples(COUNT, shape=SIGNAL).tensors
    layout = Layout(list(model.parameters()))
    given: list[weakref.ref[nn.Module]] = []

    def remembered(batch: Sequence[Tensor]) -> Tensor:
        hidden = model.first(batch[0])
        mark = nn.Identity()
        given.append(weakref.ref(mark))
        # Whatever is kept of the graph keeps it.
        outputs = model.head(hidden.tanh())
        for place in (hidden, outputs):
            place.grad_fn.metadata["mark"] = mark
        return functional.cross_entropy(outputs.mean(dim=1), batch[1])

    fast, sums = HookEngine(model, layout), Sums(layout)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            fast.add_clipped(sums, batch, count=COUNT, objective=remembered, max_norm=1.0)
    finally:
        gc.enable()
    assert len(given) == 5
    assert all(one() is None for one in given)


def test_a_rehearsal_leaves_nothing_behind_that_norms_are_made_of() -> None:
    def norms() -> Tensor:
        weight, bias = Parameter(torch.zeros(3, 4)), Parameter(torch.zeros(3))
        return Products(weight, bias, torch.ones(2, 3), torch.ones(2, 4)).norms()

    with FakeTensorMode(allow_non_fake_inputs=True):
        norms()
    # 3 ones in what came back, 4 in what went in, and the one beside the bias.
    torch.testing.assert_close(norms(), torch.full((2,), 15.0).sqrt())


def test_a_sum_gives_its_memory_back_while_ordinary_gradients_are_made() -> None:
    """In the steps that are checked; what was added before is kept."""
    model, batch = Wide(), examples(COUNT, shape=SIGNAL).tensors
    layout = Layout(list(model.parameters()))
    fast, sums = HookEngine(model, layout), Sums(layout)
    gone: list[bool] = []

    def watched(batch: Sequence[Tensor]) -> Tensor:
        loss = objective(model)(batch)
        loss.register_hook(lambda _: gone.append(sums._vector is None))
        return loss

    once, _ = clipped(HookEngine(model, layout), layout, batch, objective(model), max_norm=0.1)
    for step in range(5):
        sums.reset()
        for times in (1, 2):
            fast.add_clipped(sums, batch, count=COUNT, objective=watched, max_norm=0.1)
            torch.testing.assert_close(sums.total(), times * once)
            assert gone == [is_checked(2 * step) and times == 1]
            gone.clear()


@pytest.mark.parametrize("left_out", [(), (1, 4)])
def test_small_weights_side_by_side_give_what_each_gives_alone(left_out: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weights = [Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), ())]
    parts = [Instantiated(weight, torch.randn(COUNT, *weight.shape)) for weight in weights]
    bundle = Bundle.of(parts)
    norms = torch.stack([part.norms() for part in parts]).norm(dim=0)
    torch.testing.assert_close(bundle.norms(), norms)
    rows = torch.tensor([row for row in range(COUNT) if row not in left_out])
    factors = torch.rand(len(rows))
    layout = Layout(weights)
    together, alone = Sums(layout), Sums(layout)
    for _ in range(3):  # as the pieces of a batch
        bundle.only(rows).add_to(together, factors)
        for part in parts:
            part.only(rows).add_to(alone, factors)
    assert not together.clean
    torch.testing.assert_close(together.total(), alone.total())
    # The memory of one batch is overwritten by the next.
    together.reset()
    bundle.add_to(together, torch.ones(COUNT))
    torch.testing.assert_close(together.total(), torch.cat([part.samples.sum(dim=0).flatten() for part in parts]))


def test_weights_of_few_numbers_are_put_together_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_gathering, _layers):
        monkeypatch.setattr(module, "SMALL", COUNT * 12)
    model = nn.Sequential(
        nn.Linear(12, 12), nn.LayerNorm(12), nn.Unflatten(1, (3, 4)), nn.GroupNorm(3, 3), nn.Flatten()
    )
    model.append(nn.LayerNorm((12,)))
    model.append(nn.Linear(12, CLASSES))
    seen: list[Share] = []
    monkeypatch.setattr(
        _engine, "add_weighed", lambda shares, sums, weights: (seen.extend(shares), add_weighed(shares, sums, weights))
    )
    layout = Layout(list(model.parameters()))
    batch = examples(COUNT, shape=(12,)).tensors
    found = clipped(HookEngine(model, layout), layout, batch, objective(model), max_norm=0.1)
    torch.testing.assert_close(found, clipped(MicrobatchEngine(), layout, batch, objective(model), max_norm=0.1))
    kinds = [type(share) for share in seen]
    assert sorted(kind.__name__ for kind in kinds) == ["Bundle", "Products", "Products"]
    (bundle,) = (share for share in seen if isinstance(share, Bundle))
    assert len(bundle.parameters) == 6


def test_long_sequences_of_little_work_have_their_norm_from_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    products = Products._pairs
    monkeypatch.setattr(Products, "_pairs", lambda self, *parts: calls.append(1) or products(self, *parts))
    torch.manual_seed(0)
    weight = Parameter(torch.zeros(3, 5, dtype=torch.float64))
    back, inputs = torch.randn(2, 70, 3, dtype=torch.float64), torch.randn(2, 70, 5, dtype=torch.float64)
    share = Products(weight, None, back, inputs)
    expected = torch.bmm(back.transpose(1, 2), inputs).flatten(start_dim=1).norm(dim=1)
    for much, number in ((_shares.MUCH, 1), (0, 3)):
        monkeypatch.setattr(_shares, "MUCH", much)
        calls.clear()
        torch.testing.assert_close(share.norms(), expected)
        assert len(calls) == number


@pytest.mark.parametrize("known", [False, True])
def test_small_weights_lie_in_the_sum_wherever_the_layout_has_them(known: bool) -> None:
    torch.manual_seed(0)
    weights = [Parameter(torch.zeros(shape)) for shape in ((2, 3), (7, 2), (4,), (5,), (3,))]
    layout, sums = Layout(weights), Sums(Layout(weights))
    small = [Instantiated(weights[place], torch.randn(COUNT, *weights[place].shape)) for place in (0, 2, 3)]
    bundle = Bundle.of(small)
    assert [run.size for run in layout.runs(bundle.parameters)] == [6, 9]
    expected = layout.zeros()
    if known:
        # Others may be added to one of them, and it counts all the same.
        sums.view(weights[3]).fill_(2)
        layout.part(expected, weights[3]).fill_(2)
    for part in small:
        layout.part(expected, part.parameter).add_(part.samples.sum(dim=0))
    bundle.add_to(sums, torch.ones(COUNT))
    torch.testing.assert_close(sums.total(), expected)
    sums.reset()
    bundle.add_to(sums, torch.ones(COUNT))
    if known:
        sums.view(weights[3]).fill_(2)
    torch.testing.assert_close(sums.total(), expected)
