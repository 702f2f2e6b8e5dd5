# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
"""Tensors that have a shape and a device but no numbers: the private touches of the estimate.

Seen on torch 2.13.0; tests name what is used: `FakeTensorMode`, the keys of its cache and its exceptions,
`TorchDispatchMode`, and the mode that steps out of both for a moment.
"""

import copy
import functools
import inspect
import logging
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    _DispatchCacheKey,
    unset_fake_temporarily,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only

from steelyard._torch_private import is_fake
from steelyard.estimating._caches import caches_of, emptied

_BETWEEN = ("steelyard.estimating.", "torch._subclasses.", "torch._ops", "torch.overrides")
_ENGINE = "torch.autograd.graph"
"""Files of the calls that lie between an operation and who asked for it, and of the one that starts the engine."""
Seen = Callable[[Any, Any, Any, Any], None]
"""Operation, arguments, keyword arguments, what came out."""


@contextmanager
def _quiet() -> Generator[None]:
    """Torch logs a stack of calls for an operation that fails, though whoever tries it may well expect that."""
    logger = logging.getLogger(FakeTensorMode.__module__)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class Fakes:
    """One world of tensors without numbers.

    Attributes:
        assumed: Questions about numbers that were answered with "one", by operation.
    """

    def __init__(self) -> None:
        self._mode = _World(allow_non_fake_inputs=True)
        self.assumed: Counter[str] = Counter()
        self._caches: list[Any] = []

    @contextmanager
    def entered(self, seen: Seen | None = None) -> Generator[None]:
        """Every tensor that is made inside is a fake one; each operation is shown to `seen`."""
        with ExitStack() as stack:
            stack.enter_context(emptied(self._caches))
            stack.enter_context(self._mode)
            stack.enter_context(_Answers(self.assumed, seen))
            stack.enter_context(_NoArrays(self.assumed))
            stack.enter_context(_quiet())
            yield

    @contextmanager
    def copied_well(self) -> Generator[None]:
        """Real tensors are made inside, and fake ones can be copied or asked for their numbers."""
        with _NoArrays(self.assumed):
            yield

    @staticmethod
    @contextmanager
    def left() -> Generator[None]:
        """Real tensors for a moment, inside of `entered`."""
        with unset_fake_temporarily(), _disable_current_modes(), torch._C.DisableTorchFunction():
            yield

    def like(self, tensor: Tensor) -> Tensor:
        """A fake CPU tensor of the same shape and type."""
        if isinstance(tensor, FakeTensor):
            return tensor
        with self._mode:
            made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, requires_grad=tensor.requires_grad)
        return made

    def batch(self, batch: Any) -> Any:
        """The same structure with fake tensors in it."""
        return tree_map_only(Tensor, self.like, batch)

    def copied(self, module: nn.Module) -> Any:
        """A deep copy of a module, real or on the meta device, whose tensors have no numbers; ties stay."""
        self._caches += caches_of(module)
        tensors = {id(tensor): tensor for part in module.modules() for tensor in _tensors(part)}
        memo: dict[int, Any] = {key: self.like(tensor) for key, tensor in tensors.items()}
        copied = copy.deepcopy(module, memo)
        self._still(copied)
        return copied

    def fill(self, module: nn.Module) -> None:
        """Puts fakes in place of the real or meta tensors that somebody has added to a module since."""
        memo: dict[int, Tensor] = {}
        for part in module.modules():
            places: Any = (part._parameters, part._buffers)
            for store in places:
                for name, tensor in store.items():
                    if tensor is not None and not isinstance(tensor, FakeTensor):
                        if id(tensor) not in memo:
                            memo[id(tensor)] = self.like(tensor)
                        store[name] = memo[id(tensor)]
        self._still(module)

    def _still(self, module: nn.Module) -> None:
        """Conversions (`.to`, `.float`, `.cpu`) that torch does by swapping, which fakes do not survive."""
        for part in module.modules():
            vars(part)["_apply"] = functools.partial(_apply, part)


@contextmanager
def numbers_answered() -> Generator[None]:
    """Inside, questions about numbers that are not there are answered with "one", e.g. on the meta device."""
    with _Answers(Counter(), None):
        yield


def _apply(module: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    for tensor in (*module.parameters(recurse), *module.buffers(recurse)):
        with torch.no_grad():
            converted = convert(tensor)
        if converted.dtype is not tensor.dtype:
            tensor.data = converted
    return module


@dataclass(frozen=True, slots=True)
class Storage:
    """What holds a tensor's bytes.

    Attributes:
        key: The same for all views of the bytes, and another's as soon as they are freed.
        size: In bytes.
    """

    key: int
    size: int


def storage_of(tensor: Tensor) -> Storage:
    """Where a tensor's numbers would be."""
    storage = tensor.untyped_storage()
    return Storage(storage._cdata, int(storage.nbytes()))


def when_freed(tensor: Tensor, then: Callable[[], None]) -> None:
    """Calls `then` as soon as nobody holds the tensor's bytes any more."""
    weakref.finalize(tensor.untyped_storage(), then).atexit = False


def by_engine() -> bool:
    """Whether autograd's engine asked for the operation that is just shown, and no function in Python."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_BETWEEN):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == _ENGINE


class _World(FakeTensorMode):
    """Fake tensors that may be copied.

    A deep copy of a fake tensor copies its mode too, which holds `StorageWeakRef`s; each copy of those gives the same
    weak reference back once more, and the freed memory is written to later, somewhere else (torch 2.13.0).
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "_World":
        return self

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in here, so nobody has to keep the compiler away from it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As torch's, which keeps the compiler away at each operation."""
        return self.dispatch(func, types, args, kwargs or {})

    def _cache_key(self, state: Any, func: Any, args: Any, kwargs: Any) -> Any:
        """What the result of an operation hangs on; torch's own key takes half the time of a rehearsal.

        The layers of a model do the same over and over, and torch keeps what came out the first time. Here all sizes
        are known and all tensors dense, which torch's key has to ask of each.
        """
        key: list[Any] = [
            func,
            torch.get_default_dtype(),
            torch._C._get_default_device(),
            torch.is_inference_mode_enabled(),
        ]
        if self._told(key, args) and (not kwargs or self._told(key, [*kwargs, *kwargs.values()])):
            return _DispatchCacheKey(("steelyard", *key))
        return super()._cache_key(state, func, args, kwargs)

    def _told(self, key: list[Any], args: Any) -> bool:
        """Puts what matters of arguments into a key; tells whether they are all of the usual kinds."""
        for arg in args:
            kind = type(arg)
            if kind is FakeTensor:
                if arg.constant is not None or arg.fake_mode is not self or arg.layout is not torch.strided:
                    return False
                flags = arg.requires_grad, arg.is_conj(), arg.is_neg(), arg.is_inference(), arg.is_quantized
                where = arg.stride(), arg.storage_offset(), arg.untyped_storage().nbytes()
                key += arg.shape, arg.dtype, arg.fake_device, *where, *flags
            elif kind in _PLAIN:
                # 1 and 1.0 are equal, and make results of other types.
                key += kind, arg
            elif kind is list or kind is tuple:
                key += kind, len(arg)
                if not self._told(key, arg):
                    return False
            else:
                return False
        return True


_PLAIN = frozenset({type(None), bool, int, float, str, torch.dtype, torch.device, torch.layout, torch.memory_format})
"""Kinds of arguments that are what they look like."""
_DEVICES_DIFFER = ("at least two devices", "two different devices")
"""What torch says then, from 2.13 on and before; the error has a type of its own only since."""


class _Answers(TorchDispatchMode):
    """Answers what cannot be known without numbers: every number is one, every condition is met, every row counts."""

    supports_higher_order_operators = True

    def __init__(self, assumed: Counter[str], seen: Seen | None) -> None:
        super().__init__()
        self._assumed = assumed
        self._seen = seen

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As above."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _DEVICE and type(args[0]) is FakeTensor and not args[0].fake_mode.in_kernel_invocation:
            # Every second question is this one.
            return args[0].fake_device
        try:
            out = func(*args, **kwargs)
        except RuntimeError as error:  # also of values, shapes and kernels that need numbers
            if any(words in str(error) for words in _DEVICES_DIFFER):
                out = func(*tree_map_only(Tensor, _on_cpu, args), **tree_map_only(Tensor, _on_cpu, kwargs))
            else:
                answer = _ANSWERS.get(getattr(func, "overloadpacket", None))
                if answer is None or not _without_numbers(args):
                    raise
                self._assumed[func.overloadpacket.__name__] += 1
                out = answer(*args, **kwargs)
        if func is _GROUPS_BACK and out[0] is not None and out[0].dtype is not args[1].dtype:
            # Of numbers of two kinds torch's own shape of the first gradient is of the longer one; real kernels round.
            out = (torch.empty_like(args[1]), *out[1:])
        if self._seen is not None:
            self._seen(func, args, kwargs, out)
        return out


class _NoArrays(TorchFunctionMode):
    """Arrays and lists of ones, where a task takes its tensors out of torch."""

    def __init__(self, assumed: Counter[str]) -> None:
        super().__init__()
        self._assumed = assumed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _TO_ARRAYS and isinstance(args[0], FakeTensor):
            self._assumed[func.__name__] += 1
            array = np.ones(tuple(args[0].shape), dtype=_numpy_type(args[0].dtype))
            return array.tolist() if func is Tensor.tolist else array
        if func is Tensor.__deepcopy__ and isinstance(args[0], FakeTensor):
            return _copied(*args)
        return func(*args, **kwargs)


def _copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """Torch's own deep copy also takes the number that a fake made of one remembers, which fails inside of fakes."""
    if id(tensor) not in memo:
        made = tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = made.requires_grad_(tensor.requires_grad)
    return memo[id(tensor)]


_TO_ARRAYS = (Tensor.numpy, Tensor.__array__, Tensor.tolist)


def _on_cpu(tensor: Tensor) -> Tensor:
    """Stands in for a tensor that a task made on the meta device and keeps where no copy reaches it."""
    return torch.empty_like(tensor, device="cpu") if tensor.device.type == "meta" else tensor


def _numpy_type(dtype: torch.dtype) -> Any:
    return np.bool_ if dtype is torch.bool else np.float64 if dtype.is_floating_point else np.int64


def _without_numbers(args: Any) -> bool:
    found: list[bool] = []
    tree_map_only(Tensor, lambda tensor: found.append(is_fake(tensor)), args)
    return any(found)


def _one(tensor: Tensor) -> Any:
    return True if tensor.dtype is torch.bool else 1.0 if tensor.is_floating_point() else 1


def _places(tensor: Tensor) -> Tensor:
    return tensor.new_empty((tensor.numel(), max(1, tensor.dim())), dtype=torch.long)


def _all(tensor: Tensor, mask: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(tensor.shape, mask.shape)
    return tensor.new_empty((int(np.prod(shape)),))


def _indexed(tensor: Tensor, indices: Any) -> Tensor:
    """`tensor[mask]` with every element of the mask set."""
    mask = indices[0]
    if len(indices) != 1 or mask.dtype is not torch.bool:
        raise NotImplementedError("an index of several masks")
    return tensor.new_empty((mask.numel(), *tensor.shape[mask.dim() :]))


def _unique(tensor: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
    flat = tensor.new_empty((tensor.numel(),))
    places = tensor.new_empty(tensor.shape, dtype=torch.long)
    return flat, places, tensor.new_empty((tensor.numel(),), dtype=torch.long)


def _ctc(log_probs: Tensor, targets: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """The losses, and what is kept of all paths (batch, time, 2 * longest target + 1)."""
    time, batch = log_probs.shape[:2]
    longest = targets.shape[-1] if targets.dim() == 2 else -(-targets.numel() // batch)
    return log_probs.new_empty((batch,)), log_probs.new_empty((batch, time, 2 * longest + 1))


_ATEN = torch.ops.aten
_DEVICE = torch.ops.prim.device.default
_GROUPS_BACK = _ATEN.native_group_norm_backward.default
_ANSWERS: dict[Any, Callable[..., Any]] = {
    _ATEN._local_scalar_dense: _one,
    _ATEN.is_nonzero: lambda *_: True,
    _ATEN.equal: lambda *_: True,
    _ATEN.nonzero: _places,
    _ATEN.masked_select: _all,
    _ATEN.index: _indexed,
    _ATEN._unique2: _unique,
    _ATEN.unique_dim: _unique,
    _ATEN._ctc_loss: _ctc,
}


def _tensors(module: nn.Module) -> Generator[Tensor]:
    """Of one module without its children: weights, buffers, and what else hangs on it."""
    for store in (module._parameters, module._buffers, vars(module)):
        yield from (value for value in store.values() if isinstance(value, Tensor))
