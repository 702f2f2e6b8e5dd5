# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Batches of any structure, by example: how many there are, and some of them as a batch of the same structure.

A batch is a tree of mappings, dataclasses, lists and tuples. Its tensors and arrays have the examples in their first
dimension; a list without tensors in it (texts, names) holds one entry per example; everything else belongs to the whole
batch.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

ARRAYS = (Tensor, np.ndarray)


class Unclear(ValueError):
    """The examples of a batch cannot be told apart."""


def rows(batch: Any) -> int:
    """The number of examples.

    Raises:
        Unclear: If the parts of the batch disagree, or there is nothing to count.
    """
    sizes = {leaf.shape[0] if isinstance(leaf, ARRAYS) else len(leaf) for leaf in _leaves(batch)}
    if len(sizes) != 1:
        found = ", ".join(map(str, sorted(sizes))) or "none"
        raise Unclear(f"the parts of the batch have different numbers of examples in their first dimension: {found}")
    return sizes.pop()


def take(batch: Any, which: slice | Sequence[int]) -> Any:
    """Some of the examples, as a batch of the same structure."""

    def pick(leaf: Any) -> Any:
        if isinstance(which, slice):
            return leaf[which]
        if isinstance(leaf, Tensor):
            return leaf[torch.as_tensor(which, device=leaf.device)]
        return leaf[list(which)] if isinstance(leaf, np.ndarray) else type(leaf)(leaf[index] for index in which)

    return _by_example(batch, pick)


def pieces(count: int, *, largest: int | None) -> list[slice]:
    """Cuts `count` examples into as few pieces as possible, whose sizes differ by at most one."""
    if count == 0:
        return []
    number = 1 if largest is None else -(-count // largest)
    edges = [count * index // number for index in range(number + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _leaves(node: Any) -> Iterator[Any]:
    """What holds one entry per example, as `_by_example` finds it."""
    if isinstance(node, ARRAYS):
        if node.ndim:
            yield node
    elif isinstance(node, list | tuple):
        if node and not any(map(_holds_examples, node)):
            yield node
        else:
            for item in node:
                yield from _leaves(item)
    elif isinstance(node, Mapping):
        for item in node.values():
            yield from _leaves(item)
    elif dataclasses.is_dataclass(node) and not isinstance(node, type):
        for field in dataclasses.fields(node):
            yield from _leaves(getattr(node, field.name))


def _by_example(node: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(node, ARRAYS):
        return change(node) if node.ndim else node
    if isinstance(node, Mapping):
        return _mapping(node, change)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        values = {field.name: _by_example(getattr(node, field.name), change) for field in dataclasses.fields(node)}
        return dataclasses.replace(node, **values)
    if isinstance(node, list | tuple):
        if node and not any(map(_holds_examples, node)):
            return change(node)
        items = [_by_example(item, change) for item in node]
        return type(node)(*items) if hasattr(node, "_fields") else type(node)(items)
    return node


def _mapping(node: Mapping[Any, Any], change: Callable[[Any], Any]) -> Any:
    values = {key: _by_example(value, change) for key, value in node.items()}
    if type(node) is dict or not isinstance(node, MutableMapping):
        return values
    # Transformers' BatchEncoding and the like carry more than their items.
    twin = copy.copy(node)
    twin.update(values)
    return twin


def _holds_examples(node: Any) -> bool:
    if isinstance(node, ARRAYS):
        return node.ndim > 0
    return isinstance(node, Mapping | list | tuple) or dataclasses.is_dataclass(node)
