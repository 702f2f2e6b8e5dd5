"""FLOPs of layers against counts of our own: every multiply-accumulate one by one, or the layer in products."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from steelyard.estimating._flops import FlopCount


def both_ways(run: Callable[[], Tensor]) -> tuple[int, int]:
    """FLOPs of the forward pass and of the way back; everything has a formula."""
    with FlopCount() as count:
        out = run()
    forward = count.total
    with count:
        out.sum().backward()
    assert not count.unknown
    return forward, count.total - forward


def walked(layer: Any, inputs: Tensor) -> int:
    """Multiply-accumulates of a convolution, each one visited."""
    out = layer(inputs)
    few = (inputs if layer.transposed else out).shape[2:]
    each_in, each_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    spans = [range(len(inputs)), range(layer.groups), range(each_in), range(each_out)]
    return sum(1 for _ in product(*spans, *map(range, few), *map(range, layer.kernel_size)))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("kind", "shape", "options"),
    [
        (nn.Conv1d, (9,), {"stride": 2, "padding": 1}),
        (nn.Conv2d, (5, 4), {"dilation": 2}),
        (nn.Conv3d, (3, 3, 4), {}),
        (nn.ConvTranspose1d, (5,), {"stride": 2}),
        (nn.ConvTranspose2d, (3, 4), {"stride": 2, "output_padding": 1}),
    ],
)
def test_a_convolution_costs_its_products_and_twice_that_on_the_way_back(
    kind: Any, shape: tuple[int, ...], options: dict[str, Any], groups: int
) -> None:
    layer, inputs = kind(4, 8, 2, groups=groups, **options), torch.randn(2, 4, *shape, requires_grad=True)
    expected = 2 * walked(layer, inputs)
    assert both_ways(lambda: layer(inputs)) == (expected, 2 * expected)
    # Without a gradient of the inputs, half of the way back is left.
    assert both_ways(lambda: layer(inputs.detach())) == (expected, expected)


GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}


def written_out(kind: Any, inputs: Tensor, *, hidden: int, layers: int, ways: int) -> None:
    """What a recurrent network multiplies: at each step the input and the state with the weights of all gates."""
    rows, steps, width = inputs.shape
    for _ in range(layers):
        for _ in range(ways):
            into, over = torch.randn(width, GATES[kind] * hidden), torch.randn(hidden, GATES[kind] * hidden)
            for step in range(steps):
                torch.zeros(rows, width) @ into + torch.zeros(rows, hidden) @ over
                del step
        width = ways * hidden


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(("layers", "ways"), [(1, 1), (2, 2)])
def test_a_recurrent_network_costs_what_its_cell_does_step_by_step(kind: Any, layers: int, ways: int) -> None:
    inputs = torch.randn(3, 6, 5, requires_grad=True)
    model = kind(5, 7, num_layers=layers, bidirectional=ways == 2, batch_first=True)
    with FlopCounterMode(display=False) as reference:
        written_out(kind, inputs, hidden=7, layers=layers, ways=ways)
    forward, back = both_ways(lambda: model(inputs)[0])
    assert forward == reference.get_total_flops()
    # The first state is no weight: where torch has no kernel for all steps, nobody asks for its gradient.
    first = 0 if kind is nn.LSTM else layers * ways * 2 * 3 * GATES[kind] * 7 * 7
    assert back == 2 * forward - first


@pytest.mark.parametrize("causal", [False, True])
def test_attention_costs_two_products_and_five_on_the_way_back(causal: bool) -> None:
    query = torch.randn(2, 4, 6, 8, requires_grad=True)
    key, value = (torch.randn(2, 4, 6 if causal else 9, 8, requires_grad=True) for _ in range(2))
    with FlopCounterMode(display=False) as reference:
        weights = query @ key.mT
        weights @ value
    forward, back = both_ways(lambda: functional.scaled_dot_product_attention(query, key, value, is_causal=causal))
    # What a causal mask leaves out is counted, as everywhere; the way back makes the weights anew.
    assert (forward, back) == (reference.get_total_flops(), 5 * forward // 2)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("sparse", [False, True])
def test_looking_up_costs_nothing_by_the_convention(mode: str, sparse: bool) -> None:
    sparse = sparse and mode != "max"
    bag = nn.EmbeddingBag(10, 4, mode=mode, sparse=sparse)
    assert both_ways(lambda: bag(torch.randint(10, (3, 5)))) == (0, 0)
    assert both_ways(lambda: nn.Embedding(10, 4, sparse=sparse)(torch.randint(10, (3, 5)))) == (0, 0)


def test_a_bilinear_layer_costs_every_pair_of_inputs_for_every_output() -> None:
    layer, one, two = nn.Bilinear(4, 5, 6), torch.randn(3, 4, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    expected = 2 * 3 * 4 * 5 * 6
    assert both_ways(lambda: layer(one, two)) == (expected, 3 * expected)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, requires_grad=True)


@pytest.mark.parametrize(
    ("run", "products"),
    [
        (lambda: drawn(3, 4) @ drawn(4), 3 * 4),
        (lambda: drawn(4) @ drawn(4), 4),
        (lambda: torch.vdot(drawn(4), drawn(4)), 4),
        (lambda: nn.Linear(4, 3)(drawn(4)), 3 * 4),
        (lambda: torch.addmv(drawn(3), drawn(3, 4), drawn(4)), 3 * 4),
        (lambda: torch.addbmm(drawn(3, 5), drawn(2, 3, 4), drawn(2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: torch.baddbmm(drawn(2, 3, 5), drawn(2, 3, 4), drawn(2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: torch.einsum("bij,bjk->bik", drawn(2, 3, 4), drawn(2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: torch.outer(drawn(3), drawn(4)), 0),
        (lambda: torch.addr(drawn(3, 4), drawn(3), drawn(4)), 0),
    ],
)
def test_products_of_all_shapes_are_counted(run: Callable[[], Tensor], products: int) -> None:
    assert both_ways(run)[0] == 2 * products
