"""Every tensor's bytes, from when they are made to when they are freed."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from steelyard.estimating._company import Moment
from steelyard.estimating._fake import by_engine, storage_of, when_freed
from steelyard.estimating._onednn import (
    Passing,
    Written,
    batch_normed_back,
    convolved,
    convolved_back,
    normed,
    recurrent,
)

KINDS = ("weights", "gradients", "optimizer", "activations", "per-example gradients", "batch", "workspace")
"""What bytes are for: weights with buffers; activations are made in the forward pass; workspace is the rest."""

_ATEN = torch.ops.aten
_FILLED = frozenset({_ATEN.scatter, _ATEN.scatter_add, _ATEN.index_add, _ATEN.index_put, _ATEN.put})
"""Operations with which autograd's formulas for what takes numbers out of a tensor put their gradients back into it."""
BLOCK = 512
"""Bytes by which torch's allocator on a GPU rounds up what is asked for."""


class Ledger:
    """Books on memory. Bytes get their final kind at the end, when it is known what became of each tensor.

    Attributes:
        phase: The kind of what is made now.
        moment: When it is made.
        rows: Examples in the batch that is worked on.
    """

    def __init__(self) -> None:
        self.phase = "workspace"
        self.moment = Moment.REST
        self.rows = 0
        self._events: list[int] = []
        self._sizes: list[int] = []
        self._written: dict[int, Written] = {}
        self._kinds: list[str] = []
        self._moments: list[Moment] = []
        self._open: dict[int, int] = {}
        self._weights: frozenset[tuple[int, ...]] = frozenset()
        # What may be written over what it is made of, and that; entries that go on as others.
        self._over: tuple[int, int] | None = None
        self._same: dict[int, int] = {}
        self._views = WeakIdKeyDictionary()

    def expect_examples(self, weights: Iterable[Tensor]) -> None:
        """From now on a tensor of (rows, *weight) is known as the gradients of single examples."""
        self._weights = frozenset(tuple(weight.shape) for weight in weights if weight.dim() > 1)

    def see(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """One operation that has run."""
        del kwargs
        made = tensors_in(out)
        packet = getattr(func, "overloadpacket", None)
        if self.moment is Moment.BACKWARD and packet is not torch.ops.aten._unsafe_view:
            self._look_for_views(made, args)
        if packet is torch.ops.aten.convolution:
            self._around(made, convolved(args, made[0]))
        elif packet is torch.ops.aten.convolution_backward:
            self._around(made, convolved_back(args))
        elif packet is torch.ops.aten.native_group_norm:
            self._around(made, [normed(args[0], back=False)])
        elif packet is torch.ops.aten.native_group_norm_backward:
            self._around(made, [normed(args[1], back=True)])
        elif packet is torch.ops.aten.native_batch_norm_backward:
            self._around(made, [batch_normed_back(args[1], train=args[7])])
        for tensor in made:
            self.note(tensor)
        if self.moment is Moment.BACKWARD:
            if packet is torch.ops.aten.add:
                self._added(args[0], made[0])
            elif packet in _FILLED:
                self._filled(args[0], made[0])
        if packet is torch.ops.aten.mkldnn_rnn_layer:
            # oneDNN's own buffers, of which a fake tensor knows nothing.
            own = recurrent(args[0], args[2])
            entry = self._open[storage_of(made[3]).key]
            self._sizes[entry], self._written[entry] = own.kept, Written(own.kept, own.written)
            self._pass(own.passing)
        elif packet is torch.ops.aten.mkldnn_rnn_layer_backward:
            own = recurrent(args[0], args[2])
            # Kept since the forward pass: nothing new, but what was not written to before.
            more, passing = self._taken(0), self._taken(own.passing)
            self._written[more] = Written(own.kept - own.written, own.written_back)
            self._events += [~passing, ~more]

    def note(self, tensor: Tensor, kind: str | None = None) -> None:
        """A tensor that lives; bytes that are known already get the new kind."""
        storage = storage_of(tensor)
        entry = self._open.get(storage.key)
        if entry is None:
            entry = self._enter(storage.size, kind or self._kind(tensor))
            self._open[storage.key] = entry
            when_freed(tensor, lambda: self._free(storage.key, entry))
        elif kind is not None:
            self._kinds[entry] = kind

    def mark(self) -> int:
        """Where the books stand now."""
        return len(self._sizes)

    def stayed(self, kind: str, *, since: int) -> None:
        """Workspace that was made since a mark and still lives was none: it is of this kind."""
        for entry in self._open.values():
            if entry >= since and self._kinds[entry] == "workspace":
                self._kinds[entry] = kind

    def events(self) -> tuple[Sequence[int], Sequence[int]]:
        """Requests and ~requests that are freed, in order, and the size of each request."""
        return self._events, [*self._sizes]

    def written(self) -> Mapping[int, Written]:
        """Of the requests that are not written to as a whole."""
        return self._written

    def moments(self) -> Sequence[Moment]:
        """When each request came."""
        return self._moments

    def gradients(self) -> Collection[int]:
        """Of the requests those that are gradients of weights."""
        return frozenset(entry for entry, kind in enumerate(self._kinds) if kind == "gradients")

    def now(self) -> int:
        """Events so far."""
        return len(self._events)

    def after(self, count: int, *, since: int) -> int:
        """The event that comes when so many requests have come since another one."""
        at = since
        for event in self._events[since:]:
            if count <= 0:
                break
            at, count = at + 1, count - (event >= 0)
        return at

    def peak(self, *, gpu: bool = False) -> dict[str, int]:
        """Bytes by kind at the fullest moment.

        Args:
            gpu: On a GPU, whose allocator deals in blocks and whose kernels take nothing in passing that is known here.
        """
        sizes = [self._on_gpu(entry) for entry in range(len(self._sizes))] if gpu else self._sizes
        total, most, at = 0, -1, len(self._events)
        for number, event in enumerate(self._events):
            total += sizes[event] if event >= 0 else -sizes[~event]
            if total > most:
                most, at = total, number
        now: Counter[str] = Counter()
        for event in self._events[: at + 1]:
            entry = event if event >= 0 else ~event
            now[self._kinds[entry]] += sizes[entry] if event >= 0 else -sizes[entry]
        return {kind: now[kind] for kind in KINDS}

    def _on_gpu(self, entry: int) -> int:
        return 0 if self._moments[entry] is Moment.PASSING else -(-self._sizes[entry] // BLOCK) * BLOCK

    def _kind(self, tensor: Tensor) -> str:
        shape = tuple(tensor.shape)
        if self.rows and shape[:1] == (self.rows,) and shape[1:] in self._weights:
            return "per-example gradients"
        return self.phase

    def _enter(self, size: int, kind: str, moment: Moment | None = None) -> int:
        entry = len(self._sizes)
        self._sizes.append(size)
        self._kinds.append(kind)
        self._moments.append(moment or self.moment)
        self._events.append(entry)
        return entry

    def _around(self, made: Sequence[Tensor], passing: Sequence[Passing]) -> None:
        """Results with what is there in passing before and while they are made."""
        whole = [self._taken(size) for one in passing for size in one.whole]
        for tensor, one in zip(made, passing, strict=False):
            before = [self._taken(size) for size in one.before]
            across = [self._taken(size) for size in one.across]
            self._events += [~entry for entry in reversed(before)]
            self.note(tensor)
            across += [self._taken(size) for size in one.after]
            self._events += [~entry for entry in reversed(across)]
        self._events += [~entry for entry in reversed(whole)]

    def _look_for_views(self, made: Iterable[Tensor], args: Sequence[Any]) -> None:
        for tensor in made:
            if storage_of(tensor).key in self._open and all(tensor is not one for one in args):
                self._views[tensor] = True

    def _added(self, first: Any, made: Tensor) -> None:
        """A sum that autograd's engine may really write over the first of its gradients."""
        # A view holds the tensor that it is of, so that somebody else has its bytes.
        if not isinstance(first, Tensor) or first in self._views or not by_engine():
            return
        self._may_go_on(first, made)

    def _filled(self, zeros: Tensor, made: Tensor) -> None:
        """Zeros that one of autograd's formulas puts gradients into: torch copies them where these have no numbers."""
        if by_engine():
            self._may_go_on(zeros, made)

    def _may_go_on(self, first: Tensor, made: Tensor) -> None:
        """What is made takes the place of what it is made of, if nobody holds that any more when it is there."""
        old, new = (self._open.get(storage_of(tensor).key) for tensor in (first, made))
        if old is not None and new is not None and self._sizes[old] == self._sizes[new]:
            self._over = new, old

    def _pass(self, size: int) -> None:
        self._events.append(~self._taken(size))

    def _taken(self, size: int) -> int:
        return self._enter(size, "workspace", Moment.PASSING)

    def _free(self, key: int, entry: int) -> None:
        entry = self._same.pop(entry, entry)
        if self._open.get(key) == entry:
            del self._open[key]
        if self._over is not None and self._over[1] == entry and self._events[-1] == self._over[0]:
            # Nobody else had it. Torch works in place then, but not where tensors have no numbers.
            self._goes_on(entry, self._events.pop())
        else:
            self._events.append(~entry)
        self._over = None

    def _goes_on(self, entry: int, other: int) -> None:
        """An entry takes the place of another one."""
        self._same[other] = entry
        key = next(key for key, known in reversed(self._open.items()) if known == other)
        self._open[key] = entry


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor of a nested structure."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
