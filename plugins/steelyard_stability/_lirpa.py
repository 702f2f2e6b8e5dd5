# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
"""Linear bounds by auto_LiRPA (Xu et al. 2020): of more kinds of layers than our own, also where they branch.

Its last release that pip finds, 0.3, was written for older versions of numpy and torch. What it misses of them is lent
to it here, by private names of its own and of torch; a test says when that is no longer needed. While it works, numbers
are made as doubles, since it makes some without being told their type; after it, everything is as it was.
"""

import copy
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steelyard_stability._bounds import MANY, ROWS, Box
from steelyard_stability._staging import Stage

LIBRARY = "auto_LiRPA"
OPERATIONS = 12
"""The version of ONNX's operations that it reads a graph in."""
DROPPING = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
KNOWN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d)
"""Whose weights it takes as weights; those of other layers it can only take as constants."""
ALIKE = 1e-3
"""Of the largest logit: by how much the graph that the library has read may differ from the model."""


class Library:
    """The model of a run as auto_LiRPA reads it: a copy in doubles, traced at the examples of a stage.

    Args:
        stage: The examples; radii are in raw units.

    Raises:
        ValueError: If there is an operation that auto_LiRPA does not know.
    """

    def __init__(self, stage: Stage) -> None:
        with _lent() as library:
            model = _Asked(stage).eval()
            inputs = stage.inputs.double()
            # By patches, its other way with convolutions, it fails on images that are not square.
            options = {"max_crown_size": MANY, "crown_batch_size": max(1, ROWS // len(inputs)), "conv_mode": "matrix"}
            self._bounded = _read(library, model, inputs, options)
            # Elsewhere, too: a constant that the trace took from these examples would not show at them.
            for point in (inputs, stage.run.adapter.clip(stage.inputs.flip(0) * 0.5 + 0.25).double()):
                with _refusing(library):
                    said, again = model(point), self._bounded(point)
                if float((again - said).abs().max()) > ALIKE * float(said.abs().max()):
                    raise ValueError(f"{LIBRARY} does not compute what the model computes")

    def margins(self, box: Box, decisions: Tensor) -> Tensor:
        """By how much the logit of the decision exceeds each other one at least, on the whole box: the least (B,).

        Args:
            box: All the examples of the stage.
            decisions: (B,).

        Raises:
            ValueError: If auto_LiRPA cannot work out the bounds.
        """
        with _lent() as library, _refusing(library):
            ball = library.PerturbationLpNorm(norm=float("inf"), x_L=box.low, x_U=box.high)
            middle = library.BoundedTensor((box.low + box.high) / 2, ball)
            classes = self._bounded(middle).shape[1]
            own = nn.functional.one_hot(decisions, classes).to(box.low)
            least, _ = self._bounded.compute_bounds(
                x=(middle,), C=own[:, None] - torch.eye(classes).to(box.low), method="CROWN", bound_upper=False
            )
        return least.detach().masked_fill(own.bool(), torch.inf).amin(dim=1)


class _Asked(nn.Module):
    """The inputs of a stage (B, ...) -> logits (B, C), by a copy of the task in doubles."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        # With channels last a convolution's answers could not be viewed as rows, as the library does.
        twin = copy.deepcopy(stage.run.task).to(memory_format=torch.contiguous_format)
        self.task = twin.double().requires_grad_(False)
        for module in self.task.modules():
            _fix(module)
        self._adapter, self._batch = stage.run.adapter, stage.batch

    def forward(self, inputs: Tensor) -> Tensor:
        return self._adapter.outputs(self.task, self._adapter.replace(self._batch, inputs))


def _fix(module: nn.Module) -> None:
    """Puts what the library reads wrongly into words that it reads rightly."""
    for name, child in module.named_children():
        if isinstance(child, DROPPING):
            setattr(module, name, nn.Identity())  # which it is once trained
    if isinstance(module, KNOWN):
        return
    for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        # A plain tensor, which a trace takes as a constant.
        delattr(module, name)
        setattr(module, name, value.detach())


class _Node:
    """A node of a graph that gives its attributes by their names."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def __getitem__(self, name: str) -> Any:
        return getattr(self._node, self._node.kindOf(name))(name)


class _Graph:
    """A graph of such nodes."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)

    def nodes(self) -> Iterator[_Node]:
        return map(_Node, self._graph.nodes())


class _Said(logging.Handler):
    """Keeps what a library says instead of printing it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _read(library: Any, model: nn.Module, inputs: Tensor, options: dict[str, Any]) -> Any:
    class Bounded(library.BoundedModule):
        def _named_members(self, *given: Any, remove_duplicate: bool = True, **named: Any) -> Any:
            del remove_duplicate  # it never gives one twice
            return super()._named_members(*given, **named)

    with _refusing(library):
        return Bounded(model, inputs, bound_opts=options, device=inputs.device)


@contextmanager
def _refusing(library: Any) -> Generator[None]:
    """What goes wrong inside as one reason: its errors are of every kind, and the operation stands in its log."""
    logger: logging.Logger = library.parse_graph.logger
    said, before = _Said(), (logger.handlers, logger.propagate)
    logger.handlers, logger.propagate = [said], False
    try:
        yield
    except Exception as error:
        unknown = [line.split()[1].strip(",") for line in said.lines if line.startswith("Name: ")]
        reason = (str(error).strip() or f"{type(error).__name__} while it was read").splitlines()[-1]
        what = f"knows no bound of {', '.join(dict.fromkeys(unknown))}" if unknown else f"cannot bound it: {reason}"
        raise ValueError(f"{LIBRARY} {what}") from error
    finally:
        logger.handlers, logger.propagate = before


@contextmanager
def _lent() -> Generator[Any]:
    """The library, with what it misses in its place and doubles as the type of new numbers."""
    # What it prints and warns of is kept from sight: progress, tracing and old names, and no user can mend them.
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings(record=True), torch.no_grad():
        warnings.simplefilter("ignore")
        library = _imported()
        warnings.simplefilter("ignore")  # again: the import has made a rule of its own
        exporting = import_module("torch.onnx._internal.torchscript_exporter._globals").GLOBALS
        before = torch.get_default_dtype(), exporting.export_onnx_opset_version
        torch.set_default_dtype(torch.float64)
        exporting.export_onnx_opset_version = OPERATIONS
        try:
            yield library
        finally:
            torch.set_default_dtype(before[0])
            exporting.export_onnx_opset_version = before[1]


def _imported() -> Any:
    if LIBRARY in sys.modules:
        return sys.modules[LIBRARY]
    helper: Any = import_module("torch.onnx.symbolic_helper")
    places: Any = import_module("appdirs")
    switches: Any = torch._C
    missing = "numpy.lib.arraysetops"
    sys.modules[missing] = ModuleType(missing)
    vars(sys.modules[missing])["isin"] = np.isin
    helper._set_opset_version = _nothing
    # It makes a folder among the user's data and never writes to it.
    own, places.user_data_dir = places.user_data_dir, _here
    profiling = switches._jit_set_profiling_executor(True), switches._jit_set_profiling_mode(True)
    try:
        library = import_module(LIBRARY)
        graphs: Any = import_module(f"{LIBRARY}.parse_graph")
        graphs._optimize_graph = _then(graphs._optimize_graph, _Graph)
    finally:
        switches._jit_set_profiling_executor(profiling[0])
        switches._jit_set_profiling_mode(profiling[1])
        places.user_data_dir = own
        del helper._set_opset_version, sys.modules[missing]
    return library


def _nothing(version: int) -> None:
    """In place of a function that set what `_lent` sets."""
    del version


def _here(name: str) -> str:
    """In place of a folder for the user's data: one that is there."""
    del name
    return os.curdir


def _then(first: Callable[..., Any], second: Callable[[Any], Any]) -> Callable[..., Any]:
    def both(*given: Any, **named: Any) -> Any:
        return second(first(*given, **named))

    return both
