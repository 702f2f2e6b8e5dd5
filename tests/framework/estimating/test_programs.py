"""Programs that oneDNN writes: for which operations, of what size, and for which shapes once more."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.glibc import GLIBC
from steelyard.estimating._programs import (
    CONVOLUTION,
    GELU,
    OF_DATA,
    OF_RECURRENT,
    OF_SPREAD_DATA,
    OF_WEIGHTS,
    PRODUCT,
    REORDER,
    SET_UP,
    Call,
    Due,
    Program,
    Programs,
    calls,
)
from steelyard.estimating._shapes import Shape, shape_of

aten = torch.ops.aten


def test_each_kind_of_operation_has_its_own_and_others_none() -> None:
    half, single, small = torch.zeros(32, 32).bfloat16(), torch.zeros(32, 32), torch.zeros(16, 16).bfloat16()

    def of(func: object, *args: object, **kwargs: object) -> list[object]:
        return [call.program for call in calls(func, args, kwargs) if call.program not in SET_UP.values()]

    assert of(aten.mm.default, half, half) == [PRODUCT]
    assert of(aten.addmm.default, half[0], half, half) == [PRODUCT]
    # A small product, and one in 32 bits, are torch's own.
    assert of(aten.mm.default, small, small) == of(aten.mm.default, single, single) == []
    assert of(aten.gelu.default, single) == [GELU]
    assert of(aten.gelu.default, single, approximate="tanh") == of(aten.relu.default, single) == []
    image, weight = torch.zeros(2, 3, 5, 5), torch.zeros(4, 3, 3, 3)

    def back(stride: int, data: bool, weights: bool) -> list[object]:
        rest = (None, [stride] * 2, [0, 0], [1, 1], False, [0, 0], 1, [data, weights, False])
        return of(aten.convolution_backward.default, image, image, weight, *rest)

    assert of(aten.convolution.default, image, weight) == [CONVOLUTION]
    assert back(1, True, True) == [OF_DATA, OF_WEIGHTS]
    assert back(2, True, True) == [OF_SPREAD_DATA, OF_WEIGHTS]
    # In a first layer nobody asks for the gradient of the data.
    assert back(1, False, True) == [OF_WEIGHTS]


def copied(func: object, args: tuple[object, ...], out: object) -> list[object]:
    found = [call for call in calls(func, args, {}, out) if call.program is REORDER]
    return [(call.kind[1], *call.numbers) for call in found]


def test_what_a_convolution_copies_has_programs_that_others_share() -> None:
    few, many, weight = torch.zeros(2, 3, 5, 5), torch.zeros(2, 32, 5, 5), torch.zeros(32, 32, 3, 3)
    rest = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    forward = copied(aten.convolution.default, (many, weight, *rest), many)
    assert forward == [("in", 2, 32, 5, 5), ("forward", 32, 32, 3, 3), ("out", 2, 32, 5, 5)]
    back = (many, many, weight, *rest, [True, True, False])
    found = copied(aten.convolution_backward.default, back, (many, weight, None))
    # Its gradient goes in as a tensor of the same shape goes forward, and comes out as what came out.
    assert set(found) - set(forward) == {("back", 32, 32, 3, 3), ("weights", 32, 32, 3, 3)}
    # A picture of few channels is taken as it lies, and where the channels lie last only weights are copied.
    first = torch.zeros(32, 3, 3, 3)
    assert copied(aten.convolution.default, (few, first, *rest), many)[0] == ("forward", 32, 3, 3, 3)
    last = many.to(memory_format=torch.channels_last)
    assert copied(aten.convolution.default, (last, weight, *rest), last) == [("forward", 32, 32, 3, 3)]
    back = copied(aten.convolution_backward.default, (last, last, weight, *back[3:]), (last, weight, None))
    assert back == [("back", 32, 32, 3, 3), ("weights", 32, 32, 3, 3)]
    assert copied(aten.convolution.default, (many[:1], weight, *rest), many[:1]) == []


def test_what_a_program_leaves_comes_between_the_requests_of_its_operation() -> None:
    due = Due(Program(requests=(10, 20, 30), code=0), (4, 8))
    assert due.requests == [(4, 10), (6, 20), (8, 30)]
    assert Due(Program(requests=(10,), code=0), (4, 8)).requests == [(4, 10)]
    # One that is made and run apart from another leaves something at both.
    assert Due(Program(requests=(10, 20, 30), code=0, early=1), (4, 8)).requests == [(4, 10), (8, 20), (8, 30)]


def test_a_copy_s_program_comes_when_the_copy_has_its_memory() -> None:
    """In the order in which a log of the requests of each operation on its own had them."""
    many, weight = torch.zeros(2, 32, 5, 5), torch.zeros(32, 32, 3, 3)
    rest = (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)

    def order(func: object, args: tuple[object, ...], out: object) -> dict[object, tuple[int, int]]:
        found = [call for call in calls(func, args, {}, out) if call.program not in SET_UP.values()]
        return {call.kind[:2] if call.program is REORDER else call.kind[-1]: call.takes for call in found}

    # Asked for are: the copy of the input, that of the weight, what comes out in the layout, and the result.
    forward = order(aten.convolution.default, (many, weight, *rest), many)
    into, out = ("reorder", "in"), ("reorder", "out")
    assert forward == {"": (0, 0), into: (1, 1), ("reorder", "forward"): (2, 2), out: (4, 4)}
    # The same back, and once more for the gradient of the weight.
    back = (many, many, weight, *rest, [True, True, False])
    assert order(aten.convolution_backward.default, back, (many, weight, None)) == {
        **{"data": (0, 3), ("reorder", "back"): (2, 2), out: (4, 4)},
        **{into: (6, 6), "weights": (7, 7), ("reorder", "weights"): (8, 8)},
    }
    last = many.to(memory_format=torch.channels_last)
    assert order(aten.convolution.default, (last, weight, *rest), last) == {"": (1, 1), ("reorder", "forward"): (2, 2)}


def test_the_first_of_its_kind_sets_up_what_all_others_share() -> None:
    image, weight = torch.zeros(2, 3, 5, 5), torch.zeros(4, 3, 3, 3)
    first = [calls(aten.convolution.default, (image[:rows], weight), {})[0] for rows in (1, 2)]
    assert first[0].key == first[1].key
    assert first[0].program is SET_UP["convolution"]
    assert calls(aten.gelu.default, (image,), {})[0].program is SET_UP["gelu"]
    told = Programs([first], [Shape(rows=2, numbers=(2,))], forward=2)
    # Whatever the shape of a validation before the training.
    assert {*told.validated(Shape(rows=9, numbers=(9,)))} == {first[0].key}


def test_a_program_comes_where_it_is_called_for_first() -> None:
    first, again = (Call("mm", (8, 4), PRODUCT, places) for places in ((3, 5), (9, 9)))
    told = Programs([[first, again]] * 2, [Shape(rows=8, numbers=(8,))] * 2)
    assert told.of_step(0) == told.of(Shape(rows=8, numbers=(8,))) == {first.key: Due(PRODUCT, (3, 5))}


def test_a_product_of_the_same_shapes_in_another_order_of_memory_has_its_own() -> None:
    half = torch.zeros(32, 32).bfloat16()
    plain, turned = (calls(aten.mm.default, (half, other), {})[0] for other in (half, half.t()))
    assert plain.key != turned.key
    assert plain.key == calls(aten.mm.default, (half + 1, half), {})[0].key


class Watched(TorchDispatchMode):
    """What a step asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        self.calls += calls(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def step(source: Tensor, target: Tensor) -> None:
    """Attention of one text to another between products, forward and back."""
    torch.manual_seed(0)
    weights = [torch.zeros(64, 64, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    words, asked = (torch.zeros(*text.shape, 64, dtype=torch.bfloat16) for text in (source, target))
    keys, values, queries = words @ weights[0], words @ weights[1], asked @ weights[2]
    found = torch.bmm(torch.bmm(queries, keys.transpose(1, 2)), values)
    torch.nn.functional.gelu(found).sum().backward()


def watched(rows: int, source: int, target: int) -> tuple[list[Call], Shape]:
    batch = torch.zeros(rows, source), torch.zeros(rows, target)
    with Watched() as mode:
        step(*batch)
    return mode.calls, shape_of(batch, rows=rows)


def test_the_programs_of_any_shape_are_told_from_those_of_a_few() -> None:
    steps = [watched(*sizes) for sizes in ((32, 9, 12), (32, 20, 17), (32, 9, 7), (20, 13, 12))]
    told = Programs([calls for calls, _ in steps], [shape for _, shape in steps])
    for number, (_, shape) in enumerate(steps):
        assert told.of(shape) == told.of_step(number)
    for sizes in ((32, 14, 14), (11, 20, 8), (32, 9, 17)):
        asked, shape = watched(*sizes)
        assert [*told.of(shape)] == [*dict.fromkeys(call.key for call in asked)]
    # Shapes share what only one of their lengths decides.
    first, second = (set(told.of(watched(32, 9, length)[1])) for length in (12, 13))
    assert len(first & second) > 0 < len(first - second)


def test_from_one_shape_numbers_grow_with_the_examples_where_they_are_a_multiple_of_them() -> None:
    shape, other = Shape(rows=24, numbers=(24,)), Shape(rows=30, numbers=(30,))
    told = Programs([[Call("mm", (48, 10), PRODUCT)]] * 2, [shape, shape])
    assert [*told.of(other)] == [("mm", (60, 10))]


def test_pieces_of_a_batch_grow_with_it_and_differ_by_one() -> None:
    sizes = (254, 251, 239)
    steps = [[Call("mm", (rows // 2, 16), PRODUCT), Call("mm", (-(-rows // 2), 16), PRODUCT)] for rows in sizes]
    # Who looks for the size of the pieces tries some before.
    steps[0] = [Call("gelu", (4,), GELU), Call("mm", (4, 16), PRODUCT), *steps[0]]
    told = Programs(steps, [Shape(rows=rows, numbers=(3 * rows,)) for rows in sizes], steady=2)
    assert [*told.of(Shape(rows=263, numbers=(789,)))] == [("mm", (131, 16)), ("mm", (132, 16))]
    assert [*told.of(Shape(rows=260, numbers=(780,)))] == [("mm", (130, 16))]


def test_a_number_that_grows_with_nothing_known_has_its_own_program_for_each_shape() -> None:
    shapes = [Shape(rows=10, numbers=(size,)) for size in (10, 20, 30)]
    told = Programs([[Call("mm", (number,), PRODUCT)] for number in (7, 3, 11)], shapes)
    assert len({key for shape in shapes for key in told.of(shape)}) == 3


def test_a_validation_needs_what_goes_forward_in_its_own_shape() -> None:
    """A product of an LSTM and a layer on it, and their gradients."""
    steps = [
        [
            Call("mm", (rows, 8), PRODUCT),
            Call("lstm", (), OF_RECURRENT),
            Call("mm", (2 * rows, 8), PRODUCT),
            Call("mm", (3 * rows, 8), PRODUCT),
        ]
        for rows in (32, 32)
    ]
    told = Programs(steps, [Shape(rows=rows, numbers=(5 * rows,)) for rows in (32, 32)], forward=3)
    # What an LSTM writes, it writes in training alone.
    assert told.validated(Shape(rows=20, numbers=(100,))) == [("mm", (20, 8)), ("mm", (40, 8))]
    assert Programs(steps, [], forward=0).validated(Shape(rows=20, numbers=(100,))) == []


def test_all_layers_of_an_lstm_share_one() -> None:
    found = list[Call]()
    layers = torch.nn.LSTM(8, 16, 2, batch_first=True)
    with Watched() as mode, torch.no_grad():
        for rows in (4, 6):
            layers(torch.zeros(rows, 5, 8))
        found += mode.calls
    assert len(found) == 4
    assert {call.key for call in found} == {("mkldnn_rnn_layer", ())}
    assert found[0].program is OF_RECURRENT


# Heap and code beside it before and after new shapes, in a process that does nothing else.
LEFT = f"""
{GLIBC}
import gc, sys, torch
torch.set_num_threads(1)
def product(rows):
    torch.ones(rows, 256, dtype=torch.bfloat16) @ torch.ones(256, 256, dtype=torch.bfloat16)
def gelu(rows):
    inputs = torch.ones(rows, 64, requires_grad=True)
    torch.nn.functional.gelu(inputs).sum().backward()
def convolution(rows):
    inputs = torch.ones(rows, 32, 8, 8, requires_grad=True)
    layer = torch.nn.Conv2d(32, 32, 3, padding=1)
    layer(inputs).sum().backward()
work = dict(product=product, gelu=gelu, convolution=convolution)[sys.argv[1]]
def used():
    gc.collect()
    libc.malloc_trim(0)
    now = libc.mallinfo2()
    return now.uordblks + now.hblkhd
for rows in range(100, 104):
    work(rows)
before = used()
for rows in range(104, 114):
    work(rows)
print((used() - before) / 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own numbers")
@pytest.mark.parametrize(
    ("kind", "programs"),
    [
        ("product", (PRODUCT,)),
        ("gelu", (GELU, GELU)),
        ("convolution", (CONVOLUTION, OF_DATA, OF_WEIGHTS, REORDER, REORDER)),
    ],
)
def test_what_is_left_on_the_heap_is_what_a_new_shape_takes(kind: str, programs: tuple) -> None:
    if kind == "product" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no products in 16 bits")
    done = subprocess.run([sys.executable, "-c", LEFT, kind], capture_output=True, text=True, check=True)
    expected = sum(sum(program.requests) for program in programs)
    assert float(done.stdout) == pytest.approx(expected, rel=0.25)
