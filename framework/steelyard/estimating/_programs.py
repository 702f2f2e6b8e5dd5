"""The programs that oneDNN writes for the shapes of a training, and keeps.

Each is a page or some of code and the lists beside it, taken from the heap. What stays was seen operation by operation
on torch 2.13.0, with registers of 512 bits, apart from any model: in glibc's `mallinfo2` before and after twelve new
shapes, in a log of the requests of one, and in the pages of code. Two programs are one where shapes, strides and types
are the same.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor

from steelyard.estimating._onednn import worked
from steelyard.estimating._shapes import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What one leaves.

    Attributes:
        requests: Bytes of each request to the heap, in order: they come one by one, between tensors.
        code: Bytes that are written to of pages of its own.
        early: How many of the requests come when it is made, where the others come when it is run.
        meanwhile: Bytes of the small requests that are there while these come, and go.
    """

    requests: Sequence[int]
    code: int
    early: int = 0
    meanwhile: Sequence[int] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.requests) + self.code


def _mixed(large: Sequence[int], *small: int) -> Sequence[int]:
    """Large requests with small ones between them."""
    each = -(-len(small) // len(large))
    return [one for at, size in enumerate(large) for one in (size, *small[at * each : (at + 1) * each])]


Key = TypeVar("Key")
_WRITING = (*[24] * 27, *[40] * 31, *[56] * 8)
"""What is there while a convolution's programs are written: 41 to 91 small requests as each of what stays came."""
_LISTS = (104, 48, 24, 104, 224, 48, 24, 104, 136, 104, 48, 24, 88, 104, 224, 472, 56, 104, 48, 24, 136, 263, 104, 436)
"""Small requests of a program, in bytes."""
PRODUCT = Program(
    requests=_mixed(
        (258_376, 258_376, 6_032, 3_904, 3_864, 3_424, 3_200, 2_216, 2_144, 2_144, 2_144), *_LISTS, 768, 768
    ),
    code=12 * 1024,
    meanwhile=[40] * 22,
)
"""Of a product in 16 bits: 546 to 570 KiB of the heap in thirteen kinds of it, and 8 to 23 of code."""
_OF_ONE = (8, 24, 24, 24, 32, 40, 48, 48, 48, 48, 48, 56, 88, 104, 104, 104, 104, 136, 224, 255, 436)
CONVOLUTION = Program(
    requests=_mixed((13_552, 13_552, 6_560, 4_664, 2_216), *_OF_ONE), code=8 * 1024, meanwhile=_WRITING
)
"""Of a convolution, without the copies of its tensors into another layout: 41 KiB of the heap in three kinds of layers,
and pages of code, as of those below, that were seen in the resident memory."""
OF_DATA = Program(
    requests=_mixed((13_552, 6_560, 2_216, 13_552, 4_592), *_OF_ONE), code=8 * 1024, early=9, meanwhile=_WRITING
)
"""Of the gradient of its input: as much in three."""
OF_WEIGHTS = Program(
    requests=_mixed((13_592, 4_616), 24, 24, 48, 48, 48, 56, 104, 104, 104, 104, 120, 136, 192, 224, 262),
    code=12 * 1024,
    meanwhile=_WRITING,
)
"""Of the gradient of its weights: 19 KiB in four."""
REORDER = Program(
    requests=_mixed((5_496, 3_664), 24, 24, 24, 30, 48, 48, 88, 104, 104, 104, 104, 113, 136, 224),
    code=4 * 1024,
    meanwhile=_WRITING,
)
"""Of a copy into another layout or out of it: 10 KiB in six. What copies the same shape the same way shares it."""
OF_RECURRENT = Program(requests=_mixed([12_288] * 16, *_LISTS), code=3_312 * 1024)
"""Of the first layer of an LSTM that is trained: code for products of all kinds, once for all layers. Seen on one of 16
units; other sizes differ by 0.2 MiB."""
OF_SPREAD_DATA = Program(
    requests=_mixed(
        (13_552, 6_560, 2_216, *[2_144] * 3, 13_656, *[6_032] * 4, 4_584, 4_584, *[2_144] * 7, 4_672, 3_784),
        *(*[24] * 14, *[48] * 20, *[104] * 25, *[768] * 10, *[224] * 7, *[40] * 5, *[16] * 4, *[28] * 4, *[128] * 4),
        *(*[656] * 4, *[96] * 3, *[136] * 3, 792, 409, 296, 258),
    ),
    code=28 * 1024,
    early=25,
    meanwhile=_WRITING,
)
"""The same where it goes in steps of more than one: 116 KiB, in a kernel of 3x3."""
GELU = Program(requests=_mixed((8_496, 5_588, 3_856), *_LISTS[:8], *[56] * 226), code=8 * 1024, meanwhile=[40] * 11)
"""Of GELU or its gradient: 35 and 50 KiB."""
SET_UP: Mapping[str, Program] = {
    "convolution": Program(
        requests=_mixed(
            (2_048, 1_040),
            *(*[72] * 128, *[256] * 47, *[56] * 26, *[64] * 16, *[96] * 16, *[16] * 6, *[160] * 6, *[448] * 4),
            *(*[192] * 4, *[384] * 4, *[896] * 4, *[768] * 3, *[40] * 3, *[320] * 3, *[288] * 3, *[480] * 2),
            *(*[736] * 2, *[512] * 2, *[128] * 2, 544, 576, 416, 608, 352),
        ),
        code=0,
    ),
    "gelu": Program(requests=[48] * 541, code=0),
}
"""What the first of its kind in a process leaves beside its program: lists of all kernels, 47 and 25 KiB."""
KEPT = 1024
"""oneDNN keeps those of so many shapes."""
CLOSE = 1e-3
"""Numbers of a shape that are closer to each other are the same."""
RECURRENT = "mkldnn_rnn_layer"
LEAST_PRODUCT = 16**3
"""Multiplications up to which torch does a product in 16 bits itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """An operation for which there is a program.

    Attributes:
        kind: What it does, and to what types.
        numbers: Shapes and strides; together with the kind they are what a program is known by.
        program: What it leaves.
        places: Events of memory of its step that come before what it leaves early, and before the rest.
        takes: How many of the tensors of its operation have their memory then.
    """

    kind: Hashable
    numbers: tuple[Hashable, ...]
    program: Program
    places: tuple[int, int] = (0, 0)
    takes: tuple[int, int] = (1, 1)

    @property
    def key(self) -> Hashable:
        return self.kind, self.numbers


@dataclass(frozen=True, slots=True)
class Due:
    """A program that a step needs.

    Attributes:
        program: What it leaves.
        places: Events of memory of the step that come before what it leaves early, and before the rest.
    """

    program: Program
    places: tuple[int, int]

    @property
    def requests(self) -> Sequence[tuple[int, int]]:
        """Each with its place; between the two, one by one, where a program does not say what comes early."""
        early, (first, last) = self.program.early, self.places
        if early:
            return [(last if number >= early else first, size) for number, size in enumerate(self.program.requests)]
        share = (last - first) / max(1, len(self.program.requests) - 1)
        return [(first + round(number * share), size) for number, size in enumerate(self.program.requests)]


def calls(func: Any, args: Any, kwargs: Any, out: Any = None) -> Sequence[Call]:
    """Those of an operation: a convolution, GELU, a layer of an LSTM, or a product in 16 bits.

    Args:
        func: The operation.
        args: Its arguments.
        kwargs: Those by name.
        out: What came out; what a convolution copies is left out if nobody says.
    """
    name = getattr(getattr(func, "overloadpacket", None), "__name__", "")
    if name == RECURRENT:
        return [Call(name, (), OF_RECURRENT)]
    found = _programs(name, args, kwargs)
    if not found:
        return ()
    tensors = [one for one in args if isinstance(one, Tensor)]
    kind = (name, *((one.dtype, one.dim()) for one in tensors))
    numbers = tuple(number for one in tensors for number in (*one.shape, *one.stride()))
    first = [Call(("set up", name), (), SET_UP[name])] if name in SET_UP else []
    if "convolution" not in name or out is None:
        return [*first, *(Call((*kind, part), numbers, program) for part, program in found.items())]
    order = worked(args, out)
    copies = [
        Call(("reorder", way, tensor.dtype, tensor.dim()), (*tensor.shape,), REORDER, takes=(at, at))
        for way, tensor, at in order.copies
    ]
    own = [
        Call((*kind, part), numbers, program, takes=order.parts.get(part, (1, 1))) for part, program in found.items()
    ]
    return [*(replace(one, takes=own[0].takes) for one in first), *copies, *own]


def _programs(name: str, args: Any, kwargs: Any) -> Mapping[str, Program]:
    if name == "convolution_backward":
        # Nobody asks for the gradient of the input of a first layer.
        data = OF_SPREAD_DATA if any(side > 1 for side in args[4]) else OF_DATA
        parts = zip(("data", "weights"), (data, OF_WEIGHTS), args[10], strict=False)
        return {part: program for part, program, asked in parts if asked}
    if name == "convolution":
        return {"": CONVOLUTION}
    if name in ("gelu", "gelu_backward") and kwargs.get("approximate", "none") == "none":
        return {"": GELU}
    if name not in ("mm", "addmm", "bmm", "baddbmm"):
        return {}
    left, right = args[-2:]
    half = right.dtype in (torch.bfloat16, torch.float16)
    return {"": PRODUCT} if half and prod(left.shape) * right.shape[-1] > LEAST_PRODUCT else {}


class Programs:
    """The programs of a training, told from the steps of a rehearsal.

    All steps call the same operations in the same order, so that their shapes and strides are told apart by what each
    of their numbers grows with: examples, the lengths of one, or two of these. Many a program serves several shapes of
    a batch: a product knows the words of a batch, but not in how many texts they came.

    Args:
        calls: Of each step, in order.
        shapes: Of the batches of each step.
        steady: Number of the step that all later ones are like.
        forward: How many calls of the steady step come before its backward pass.
    """

    def __init__(
        self, calls: Sequence[Sequence[Call]], shapes: Sequence[Shape], *, steady: int = 1, forward: int = 0
    ) -> None:
        self._calls, self._shapes, self._steady = calls, shapes, min(steady, len(calls) - 1)
        self._forward = forward
        self._known: dict[Shape, Mapping[Hashable, Due]] = {}

    def of_step(self, number: int) -> Mapping[Hashable, Due]:
        """Those of a step of the rehearsal, in order, where each is first called for."""
        calls = self._calls[number] if self._calls else ()
        return _first((call.key, Due(call.program, call.places)) for call in calls)

    def of(self, shape: Shape) -> Mapping[Hashable, Due]:
        """Those of a steady step with a batch of this shape, in order, where each is first called for."""
        if shape not in self._known:
            features = _features(shape)
            self._known[shape] = _first(
                ((kind, tuple(_number(rule, shape, features) for rule in rules)), due)
                for (kind, rules), due in self._rules.items()
            )
        return self._known[shape]

    def validated(self, shape: Shape) -> Sequence[Hashable]:
        """Keys of those that a validation needs for a batch of this shape: it goes forward, and trains nothing."""
        features = _features(shape)
        return [
            (kind, tuple(_number(rule, shape, features) for rule in rules))
            for (kind, rules), due in self._told[: self._forward]
            if due.program is not OF_RECURRENT
        ]

    @cached_property
    def _rules(self) -> Mapping[tuple[Hashable, tuple["_Rule", ...]], Due]:
        """Each once where several calls have the same."""
        return _first(self._told)

    @cached_property
    def _told(self) -> Sequence[tuple[tuple[Hashable, tuple["_Rule", ...]], Due]]:
        """Of each call of a steady step what its numbers grow with."""
        if not self._calls:
            return []
        steady = self._calls[self._steady]
        kinds = [call.kind for call in steady]
        # Who tries something first does the same in the end.
        ends = [
            step[len(step) - len(steady) :] for step in self._calls[: len(self._shapes)] if len(step) >= len(steady)
        ]
        shapes = [shape for shape, step in zip(self._shapes, self._calls, strict=False) if len(step) >= len(steady)]
        alike = [(shape, end) for shape, end in zip(shapes, ends, strict=True) if [call.kind for call in end] == kinds]
        features = [_features(shape) for shape, _ in alike]
        known = dict[tuple[Any, ...], _Rule]()
        found: list[tuple[tuple[Hashable, tuple[_Rule, ...]], Due]] = []
        for at, call in enumerate(steady):
            rows = zip(*(end[at].numbers for _, end in alike), strict=True)
            rules = tuple(known[row] if row in known else known.setdefault(row, _rule(row, features)) for row in rows)
            found.append(((call.kind, rules), Due(call.program, call.places)))
        return found


@dataclass(frozen=True, slots=True)
class _Rule:
    """A number is so many times a feature of the shape of a batch; if there is none, each shape has its own.

    Where a batch is worked on in pieces, it is the examples of one of so many, which is a larger or a smaller one.
    """

    feature: int | None
    times: float
    pieces: int = 1
    larger: bool = False


def _first(dues: Iterable[tuple[Key, Due]]) -> Mapping[Key, Due]:
    """The first of each key."""
    found = dict[Key, Due]()
    for key, due in dues:
        found.setdefault(key, due)
    return found


def _features(shape: Shape) -> Sequence[float]:
    """What the numbers of an operation may grow with; nothing first."""
    one = (1.0, *shape.lengths)
    pairs = [left * right for at, left in enumerate(one) for right in one[at:]]
    return [*pairs, *(shape.rows * pair for pair in pairs)]


def _rule(values: Sequence[Any], features: Sequence[Sequence[float]]) -> _Rule:
    # From one shape nobody can tell; most likely it are the examples.
    if len({tuple(row) for row in features}) == 1:
        rows = len(features[0]) // 2
        several = features[0][rows] > 1 and values[0] % features[0][rows] == 0 and values[0] > 0
        return _Rule(rows, values[0] / features[0][rows]) if several else _Rule(0, values[0])
    for at in range(len(features[0])):
        times = values[0] / features[0][at] if features[0][at] else 0.0
        if all(abs(times * row[at] - value) < CLOSE for value, row in zip(values, features, strict=True)):
            return _Rule(at, times)
    return _piece(values, [row[len(row) // 2] for row in features])


def _piece(values: Sequence[Any], examples: Sequence[float]) -> _Rule:
    """As many of the examples as one of some pieces has, that differ by one at most."""
    pieces = round(examples[0] / max(1, values[0]))
    for larger in (False, True):
        rule = _Rule(0, 0.0, pieces, larger)
        if pieces > 1 and all(_part(rule, count) == value for value, count in zip(values, examples, strict=True)):
            return rule
    return _Rule(None, 0.0)


def _part(rule: _Rule, examples: float) -> int:
    return (round(examples) + (rule.pieces - 1 if rule.larger else 0)) // rule.pieces


def _number(rule: _Rule, shape: Shape, features: Sequence[float]) -> Hashable:
    if rule.pieces > 1:
        return _part(rule, shape.rows)
    return shape if rule.feature is None else round(rule.times * features[rule.feature])
