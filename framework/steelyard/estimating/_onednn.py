"""What oneDNN and others make in passing on a CPU: memory of kernels that a tensor without numbers knows nothing of.

A convolution is worked out in a layout of its own: inputs and weights are copied into it, and what comes out is copied
back. Where the channels lie last in memory only weights are. What lies in memory in neither order is put in order
first. Seen in torch's profiler on torch 2.13.0, with registers of 512 and of 256 bits; with the smaller ones dilated
convolutions are worked out otherwise and take less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PAGE = 4096
BLOCKS = {"AVX512": 16, "AVX2": 8}
"""Numbers in a register of the processor, by what it can do."""

_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """Bytes around one result of an operation.

    Attributes:
        whole: Taken before all else, and given back when the last result of the operation is there.
        before: Taken one after the other before there is a result, and given back before it.
        across: Taken after these, and given back when the result is there.
        after: Taken when the result is there, and given back.
    """

    whole: Sequence[int] = ()
    before: Sequence[int] = ()
    across: Sequence[int] = ()
    after: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """How much of a request is written to.

    Attributes:
        of: Bytes of the request.
        bytes: Of these.
    """

    of: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """Bytes of a layer of an LSTM.

    Attributes:
        kept: For the backward pass.
        passing: In each of the two passes.
        written: Of what is kept, before the backward pass; nobody reads the rest, so the kernel gives no pages for it.
        written_back: Of what is kept, in the backward pass beside that.
    """

    kept: int
    passing: int
    written: int
    written_back: int


def convolved(args: Sequence[Any], given: Tensor) -> Sequence[Passing]:
    """Around the result of `aten.convolution`; nothing where another kernel does the work.

    Args:
        args: Of the operation: input, weight, bias, stride, padding, dilation, transposed, output padding, groups.
        given: The result.
    """
    inputs, weight, groups = args[0], args[1], args[8]
    if _last(given):
        return (Passing(after=[_size(weight)]),)
    if not _takes(inputs):
        return ()
    before = [*_first(inputs, groups), _size(weight)]
    return (Passing(whole=_ordered(inputs), before=before, across=[_blocked(given)]),)


def convolved_back(args: Sequence[Any]) -> Sequence[Passing]:
    """Around the gradients of the input and of the weight, of `aten.convolution_backward`; those that are asked for.

    Args:
        args: Of the operation: gradient of the output, input, weight, sizes of the bias, stride, padding, dilation,
            transposed, output padding, groups, which gradients are asked for.
    """
    outputs, inputs, weight, groups, asked = args[0], args[1], args[2], args[9], args[10]
    if _taken_last(outputs, inputs, weight):
        data, own = Passing(after=[_size(weight)]), Passing(across=[_size(weight)] * 2)
        return [one for one, wanted in zip((data, own), asked, strict=False) if wanted]
    if not _takes(inputs):
        return ()
    wide, whole = _blocked(outputs), _ordered(outputs, inputs)
    found: list[Passing] = []
    if asked[0]:
        after = [_size(inputs)] if any(side > 1 for side in args[4]) else []
        found.append(Passing(whole=whole, before=[wide, _size(weight)], across=[_blocked(inputs)], after=after))
    if asked[1]:
        before = [wide, *_first(inputs, groups)]
        found.append(Passing(whole=() if found else whole, before=before, across=[_size(weight)]))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """In which order an operation asks for tensors and for what its programs leave.

    Attributes:
        parts: Of the result, of the gradient of the data or of that of the weights: of how many tensors memory was
            asked for when what the program leaves early comes, and when the rest comes.
        copies: What is copied into a layout or out of it, which way, and the number of the tensor after which the
            program for that comes.
    """

    parts: Mapping[str, tuple[int, int]]
    copies: Sequence[tuple[str, Tensor, int]]


def worked(args: Sequence[Any], out: Any) -> Worked:
    """For `aten.convolution` or `aten.convolution_backward`; nothing where another kernel does the work.

    A program is made before the copies that it works on, or where the channels lie last in memory after what comes out
    of it; that of the gradient of the data in two parts, the second when it is run, and that of the gradient of the
    weights when it is run. That of a copy comes when the copy has its memory.

    Args:
        args: Of the operation, as above.
        out: What came out of it.
    """
    if isinstance(out, Tensor):
        inputs, weight, groups = args[0], args[1], args[8]
        if _last(out):
            return Worked(parts={"": (1, 1)}, copies=[("forward", weight, 2)])
        if not _takes(inputs):
            return Worked(parts={}, copies=[])
        whole, few = len(_ordered(inputs)), not _first(inputs, groups)
        at = whole if few else whole + 1
        first = [] if few else [("in", inputs, at)]
        return Worked(parts={"": (whole, whole)}, copies=[*first, ("forward", weight, at + 1), ("out", out, at + 3)])
    outputs, inputs, weight, groups, asked = args[0], args[1], args[2], args[9], args[10]
    copies, at = list[tuple[str, Tensor, int]](), 0
    if _taken_last(outputs, inputs, weight):
        if asked[0]:
            copies, at = [("back", weight, 2)], 2
        parts = {"data": (1, 2), "weights": (at + 1, at + 1)}
        return Worked(parts=parts, copies=[*copies, *([("weights", weight, at + 2)] if asked[1] else [])])
    if not _takes(inputs):
        return Worked(parts={}, copies=[])
    whole = at = len(_ordered(outputs, inputs))
    copies.append(("in", outputs, whole + 1))
    if asked[0]:
        copies += [("back", weight, whole + 2), ("out", inputs, whole + 4)]
        at += 5 if any(side > 1 for side in args[4]) else 4
    first = [("in", inputs, at + 2)] if _first(inputs, groups) else []
    at += 2 + len(first)
    if asked[1]:
        copies += [*first, ("weights", weight, at + 1)]
    return Worked(parts={"data": (whole, whole + 3), "weights": (at, at)}, copies=copies)


def normed(inputs: Tensor, *, back: bool) -> Passing:
    """Around the first result of a normalisation by groups, forward or back: two numbers for each channel of a row.

    Forward they are taken at once, and only where the channels lie last; of at least 32 bits each.

    Args:
        inputs: (rows, channels, ...).
        back: Whether it is the backward pass.
    """
    each = inputs.shape[0] * inputs.shape[1] * max(4, inputs.element_size())
    if back:
        return Passing(after=[each, each])
    return Passing(after=[2 * each]) if _last(inputs) else Passing()


def batch_normed_back(inputs: Tensor, *, train: bool) -> Passing:
    """Around the gradient of the input of a normalisation by the batch: once more as much, in training."""
    return Passing(across=[_size(inputs)] if train else ())


def recurrent(inputs: Tensor, hidden: Tensor) -> Recurrent:
    """What a layer of an LSTM needs beside what it is given and gives, in float32.

    The sizes are those of oneDNN's reference implementation (`rnn_utils::set_workspace_sizes`): gates, states and their
    gradients of every step, in rows whose length is a multiple of 16 numbers and not of 256. What is written to was
    seen in the resident memory of four layers.

    Args:
        inputs: (time, batch, features).
        hidden: Weights of the state (4 * units, units).
    """
    time, batch, features = inputs.shape
    gates, units = hidden.shape
    row = _row(max(features, units))
    kept = 4 * batch * ((time + 1) * (6 * row + 4 * units) + time * (_row(gates) + _row(units)))
    passing = 4 * ((features + units) * _row(gates) + gates + time * batch * _row(gates))
    return Recurrent(
        kept=kept + 2 * PAGE,
        passing=passing,
        written=4 * batch * (time * _row(gates) + (time + 1) * units) + 2 * PAGE,
        written_back=4 * 4 * batch * (time + 1) * row,
    )


def _takes(inputs: Tensor) -> bool:
    """Whether oneDNN does it, in a layout of its own."""
    kinds = (torch.float32, torch.bfloat16) if _block() == BLOCKS["AVX512"] else (torch.float32,)
    if not torch.backends.mkldnn.is_available() or inputs.dtype not in kinds:
        return False
    return inputs.dim() > 2 and inputs.shape[0] > 1


def _ordered(*tensors: Tensor) -> Sequence[int]:
    """Copies of those that lie in memory in another order than their dimensions."""
    return [_size(tensor) for tensor in tensors if not tensor.is_contiguous()]


def _taken_last(outputs: Tensor, inputs: Tensor, weight: Tensor) -> bool:
    """Whether a convolution takes its channels last in memory."""
    # One channel lies first and last at once: what came out says as which it was taken.
    either = inputs.is_contiguous() and _lies_last(inputs)
    return _last(inputs) or _last(weight) or (either and _last(outputs))


def _last(tensor: Tensor) -> bool:
    """Whether the channels lie last in memory."""
    return not tensor.is_contiguous() and _lies_last(tensor)


def _lies_last(tensor: Tensor) -> bool:
    """The same, but for one channel, which may be said to lie first as well."""
    return tensor.dim() in _LAST and tensor.is_contiguous(memory_format=_LAST[tensor.dim()])


def _block() -> int:
    """Channels that lie side by side."""
    return BLOCKS.get(torch.backends.cpu.get_cpu_capability(), 8)


def _blocked(tensor: Tensor) -> int:
    """Bytes of a tensor whose channels are filled up to whole blocks."""
    channels, block = tensor.shape[1], _block()
    return _size(tensor) // max(1, channels) * (-(-channels // block) * block)


def _first(inputs: Tensor, groups: int) -> Sequence[int]:
    """The copy of the input; few channels, as a picture has, are taken as they lie."""
    return () if groups == 1 and inputs.shape[1] < _block() else (_blocked(inputs),)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _row(numbers: int) -> int:
    rounded = -(-numbers // 16) * 16
    return rounded + 16 if rounded % 256 == 0 else rounded
