"""A heap is left to chance: several replays of one training, and what a forecast makes of them."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from steelyard.estimating._batches import batches_of, drawn
from steelyard.estimating._buffers import buffer
from steelyard.estimating._company import Moment
from steelyard.estimating._fake import Fakes
from steelyard.estimating._heap import LEAN, Rules, in_training, rules_of
from steelyard.estimating._onednn import Written
from steelyard.estimating._programs import PRODUCT, Call, Program, Programs
from steelyard.estimating._replay import Trace, held, spread
from steelyard.estimating._shapes import Shape
from steelyard.estimating.estimate import MOST_PAGES, ONCE, PAGES, SAFE, SAFE_LEAN, Estimate

MIB = 2**20


def layers(count: int, size: int) -> Trace:
    """Weights that stay; each step makes activations of many sizes, then frees them from the last to the first."""
    weights = [0, 1]
    sizes, events, ends = [4 * MIB, 4 * MIB], [*weights], list[int]()
    for _ in range(3):
        first = len(sizes)
        sizes += [size + 4096 * (7 * layer % 11) for layer in range(count)]
        kept = [*range(first, first + count)]
        events += [*kept, *(~one for one in reversed(kept))]
        ends.append(len(events))
    moments = [Moment.REST] * 2 + [Moment.FORWARD] * (3 * count)
    return Trace(events=events, sizes=sizes, ends=ends, shapes=[Shape(rows=8, numbers=(8,))] * 3, moments=moments)


def test_steps_are_alike_so_that_a_heap_comes_to_the_same_again_and_again() -> None:
    trace = layers(20, MIB)
    short, long = (held(trace, [], Rules(kept=0), steps=steps) for steps in (5, 40))
    assert long == pytest.approx(short, rel=0.02)


def test_buffers_are_taken_once_and_not_where_a_validation_took_them_before() -> None:
    trace = layers(20, MIB)
    products = Programs([[Call("product", (512, 512, 512), Program(requests=(), code=0))]] * 3, trace.shapes, forward=1)
    packed = buffer(512, 512, 512)
    assert packed is not None
    lean, plain = rules_of(LEAN), Rules(kept=0)
    taken, before = replace(trace, products=products), replace(trace, products=products, validated=trace.shapes[:1])
    grown = held(taken, [], lean, steps=5) - held(trace, [], lean, steps=5)
    assert grown == pytest.approx(packed.bytes, rel=0.02)
    # In a heap it may lie in a hole in part.
    assert 0 < held(taken, [], plain, steps=5) - held(trace, [], plain, steps=5) <= packed.of
    for rules in (lean, plain):
        assert held(before, [], rules, steps=5) == held(trace, [], rules, steps=5)


def test_what_a_program_leaves_lies_where_its_operation_was() -> None:
    """What comes while a tensor is there lies after it, and a larger one has no room in its place."""
    sizes, events = [4 * MIB, 4 * MIB, 8 * MIB] * 3, [0, ~0, 1, ~1, 2, ~2, 3, ~3, 4, ~4, 5, ~5, 6, ~6, 7, ~7, 8, ~8]
    shapes = [Shape(rows=8, numbers=(8,))] * 3
    trace = Trace(events=events, sizes=sizes, ends=[6, 12, 18], shapes=shapes)

    def grown(place: int) -> int:
        program = Program(requests=(100 * 1024,) * 8, code=0)
        told = Programs([[Call("mm", (), program, (place, place))]] * 3, shapes)
        return held(replace(trace, programs=told), [], in_training(Rules(kept=0)), steps=4)

    assert grown(1) > 12 * MIB
    assert grown(0) < 9.5 * MIB


def test_of_steps_that_draw_their_batches_no_more_are_replayed_than_there_are() -> None:
    trace = replace(layers(20, MIB), steady=2)
    order = [Shape(rows=rows, numbers=(rows,)) for rows in (8, 8, 8, 400)]
    assert held(trace, order, Rules(kept=0), steps=5) == held(trace, order[:3], Rules(kept=0), steps=5)


def test_the_graph_goes_with_each_backward_pass_of_a_step() -> None:
    """Four backward passes to a step; tensors of 2 KiB, so that their nodes are more than they are."""
    each, sizes, events, moments = 500, list[int](), list[int](), list[Moment]()
    for _ in range(4):
        first = len(sizes)
        sizes += [2048] * (each + 1)
        moments += [Moment.FORWARD] * each + [Moment.BACKWARD]
        events += [*range(first, first + each + 1), *(~one for one in range(first, first + each + 1))]
    shapes = [Shape(rows=8, numbers=(8,))]
    whole = Trace(events=events, sizes=sizes, ends=[len(events)], shapes=shapes, moments=moments)
    once = replace(whole, events=events[: len(events) // 4], ends=[len(events) // 4])
    assert held(whole, [], rules_of(LEAN), steps=1) < 1.2 * held(once, [], rules_of(LEAN), steps=1)


def test_what_is_taken_inside_of_an_operation_has_no_objects_beside_it() -> None:
    trace = layers(20, MIB)
    passing = replace(trace, moments=[Moment.PASSING] * len(trace.sizes))
    assert len(set(spread(passing, [], Rules(kept=0), steps=9))) < len(set(spread(trace, [], Rules(kept=7), steps=9)))


def test_replays_differ_and_are_the_same_each_time_they_are_asked_for() -> None:
    trace = layers(20, MIB)
    found = spread(trace, [], Rules(), steps=9)
    assert list(found) == sorted(found)
    assert len(set(found)) > 1
    assert found == spread(trace, [], Rules(), steps=9)


def test_an_allocator_that_gives_back_what_is_freed_leaves_nothing_to_chance() -> None:
    trace = layers(20, MIB)
    tensors = sum(trace.sizes[:22])
    found = spread(trace, [], rules_of(LEAN), steps=9)
    assert found[-1] - found[0] < 0.01 * tensors
    assert found[-1] == pytest.approx(tensors, rel=0.02)
    assert held(trace, [], rules_of(LEAN), steps=9) == pytest.approx(found[0], rel=0.01)


def written(count: int) -> Programs:
    """As many products to a step, whose shapes all grow with the length of a batch."""
    shapes = [Shape(rows=1, numbers=(size,)) for size in (1000, 2000)]
    places = [(8 * number, 8 * number + 8) for number in range(count)]
    steps = [
        [Call(("mm", number), (shape.size,), PRODUCT, places[number]) for number in range(count)] for shape in shapes
    ]
    return Programs(steps, shapes)


def test_the_programs_of_steps_that_are_not_replayed_are_counted_up_to_those_that_are_kept() -> None:
    trace = replace(layers(20, MIB), programs=written(2))
    order = [Shape(rows=1, numbers=(size,)) for size in range(1, 301)]
    few, many = (held(trace, order[:count], rules_of(LEAN), steps=1000) for count in (20, 300))
    assert many - few == pytest.approx(280 * 2 * PRODUCT.size, rel=0.05)
    trace = replace(trace, programs=written(100))
    assert held(trace, order, rules_of(LEAN), steps=1000) == pytest.approx(
        held(trace, order[:40], rules_of(LEAN), steps=1000), rel=0.05
    )
    # A training of 20 steps comes to no more of them.
    assert held(trace, order, rules_of(LEAN), steps=20) == held(trace, order[:19], rules_of(LEAN), steps=20)


def test_what_programs_leave_comes_between_tensors_so_that_a_heap_grows_by_more() -> None:
    # Five for the shape of the first step, and five for that of all others.
    plain, own = layers(40, MIB), 10 * PRODUCT.size
    with_them = replace(plain, programs=written(5))
    kept, lean = in_training(Rules(kept=0)), in_training(rules_of(LEAN))
    assert held(with_them, [], kept, steps=9) - held(plain, [], kept, steps=9) > 1.3 * own
    assert held(with_them, [], lean, steps=9) - held(plain, [], lean, steps=9) == pytest.approx(own, rel=0.1)


def test_a_large_batch_late_in_a_long_epoch_is_replayed() -> None:
    trace = layers(20, MIB)
    small, large = Shape(rows=8, numbers=(8,)), Shape(rows=8, numbers=(16,))
    trace = replace(
        trace, shapes=[small, small, large], sizes=[*trace.sizes[:42], *(2 * size for size in trace.sizes[42:])]
    )
    order = [small] * 200
    late = [*order[:190], large, *order[190:]]
    found = [held(trace, one, rules_of(LEAN), steps=1000) for one in (order, late)]
    assert found[1] - found[0] == pytest.approx(sum(trace.sizes[22:42]), rel=0.02)


def estimate(*, held: int = 0, held_most: int = 0, held_lean: int = 0) -> Estimate:
    memory = {"weights": 100 * MIB}
    tensors = Estimate(flops=1, modules={}, memory=memory, parameters=1, trainable=1, examples=1)
    return replace(tensors, held=held, held_most=held_most, held_lean=held_lean)


def test_what_to_leave_is_counted_from_the_worst_replay_and_never_from_less_than_the_tensors() -> None:
    seen = estimate(held=130 * MIB, held_most=180 * MIB, held_lean=104 * MIB)
    assert seen.process_bytes == 130 * MIB + ONCE
    assert seen.safe_bytes == int(SAFE * (180 * MIB + PAGES))
    assert seen.lean_bytes == int(SAFE_LEAN * 104 * MIB) + MOST_PAGES
    # Steps that were replayed need not have met the largest batch.
    short = estimate(held=50 * MIB, held_most=60 * MIB, held_lean=40 * MIB)
    assert short.safe_bytes == int(SAFE * 100 * MIB)
    assert short.lean_bytes == int(SAFE_LEAN * 100 * MIB) + MOST_PAGES
    assert estimate().lean_bytes == 0


def one(_: Tensor) -> int:
    return 1


def test_of_batches_that_are_put_together_the_largest_is_replayed() -> None:
    texts: list[Tensor] = [torch.zeros(length) for length in (5, 9, 3, 7, 8, 2, 4, 6)]
    loader: DataLoader[Tensor] = DataLoader(texts)  # type: ignore[arg-type]
    found = batches_of(loader, Fakes(), size=one, steps=3, each=2)
    # Steps of (5, 9), (3, 7), (8, 2) and (4, 6) numbers; the first is rehearsed as it is.
    assert [shape.size for shape in found.order] == [7, 8, 6]


def test_a_small_last_batch_is_rehearsed() -> None:
    loader: DataLoader[Tensor] = DataLoader([torch.zeros(4)] * 11, batch_size=4)  # type: ignore[arg-type]
    found = batches_of(loader, Fakes(), size=len, steps=2, each=1)
    assert [len(batch) for batch in islice(found, found.steps)] == [4, 4, 3]


def test_of_a_request_that_is_not_written_to_as_a_whole_its_part_is_replayed_in_each_step() -> None:
    trace = layers(20, MIB)
    whole = held(trace, [], rules_of(LEAN), steps=9)
    part = {entry: Written(trace.sizes[entry], trace.sizes[entry] // 4) for entry in range(2, len(trace.sizes))}
    quarter = held(replace(trace, written=part), [], rules_of(LEAN), steps=9)
    assert quarter - 8 * MIB == pytest.approx((whole - 8 * MIB) / 4, rel=0.05)


def test_batches_that_are_drawn_differ_as_counts_do() -> None:
    seen = [Shape(rows=rows, numbers=(64 * rows, rows)) for rows in (90, 100, 110)]
    found = drawn(seen)
    assert all(shape.lengths == (64, 1) for shape in found)
    rows = torch.tensor([shape.rows for shape in found], dtype=torch.float32)
    assert rows.mean().item() == pytest.approx(100, abs=2)
    assert rows.std().item() == pytest.approx(10, rel=0.1)
    assert drawn(seen) == found
    told = torch.tensor([float(shape.rows) for shape in drawn(seen, expected=200, batches=2)])
    assert told.mean().item() == pytest.approx(200, abs=2)
    assert told.std().item() == pytest.approx((200 / 2) ** 0.5, rel=0.1)
    # Those of one size, and those that differ in the length of their examples, are not drawn.
    assert not drawn([seen[0]] * 3)
    assert not drawn([seen[0], Shape(rows=100, numbers=(50 * 100, 100))])


def test_a_loader_of_one_s_own_tells_the_sizes_of_its_batches_as_they_come() -> None:
    class Drawing(list[Tensor]):
        pass

    batches = Drawing(torch.zeros(rows, 4) for rows in (8, 7, 9))
    found = batches_of(batches, Fakes(), size=len, steps=2, each=1)
    assert not found.order
    for batch in found:
        assert batch.shape[1] == 4
    assert found.order == drawn([Shape(rows=rows, numbers=(4 * rows,)) for rows in (8, 7, 9)], batches=3)
