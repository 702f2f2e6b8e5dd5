# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Counting the FLOPs of real operations as they pass by, without changing one of them.

This file holds the private touches (seen on torch 2.13.0; a test names them): `TorchDispatchMode` has no public path,
and neither has the question whether a module is compiled. `FlopCounterMode` takes operations apart that have no formula
and puts hooks on every module; the mode here runs each operation as it is and takes only the formulas from it, so that
a step is bit-identical with and without it.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from steelyard.estimating._formulas import FORMULAS

DEFINITION = "a multiply-accumulate is 2 FLOP; counted are matrix products, convolutions, attention, recurrence"

_PASSING = frozenset({torch.Tag.pointwise, torch.Tag.reduction})
_CHEAP = (
    *("_foreach_", "_fused_", "_local_scalar_dense", "_record_function_", "_to_copy", "_unsafe_view"),
    *("arange", "bernoulli", "cat", "copy", "empty", "fill", "full", "gather", "index", "lift_fresh", "masked_fill"),
    *("new_", "normal", "ones", "rand", "repeat", "scatter", "select", "slice", "split", "stack", "take", "uniform"),
    *("unsafe", "where", "zero", "embedding", "_log_softmax", "_safe_softmax", "_softmax", "nll_loss", "mse_loss"),
    *("native_batch_norm", "native_dropout", "native_group_norm", "native_layer_norm", "_fused_rms_norm"),
    *("max_pool", "avg_pool", "_adaptive_avg_pool", "argmax", "topk", "sort", "cumsum", "constant_pad_nd"),
    *("transpose_", "im2col", "col2im", "_embedding_bag", "_sparse_coo_tensor", "addr"),
    *("set_", "resize", "scalar_tensor", "equal", "nonzero", "_assert", "is_same_size"),
)
"""How operations begin that touch each number a few times; the convention counts none of them."""


class FlopCount(TorchDispatchMode):
    """Counts while it is entered.

    Attributes:
        total: FLOPs so far.
        unknown: Operations without a formula that may do real work, and how often they ran.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.unknown: Counter[str] = Counter()
        self._formulas: Mapping[Any, Any] = FlopCounterMode(display=False, custom_mapping=FORMULAS).flop_registry

    def start(self) -> None:
        """Enters; for hooks, which cannot hold a `with` block open."""
        self.__enter__()

    def stop(self) -> None:
        """Leaves what `start` entered."""
        self.__exit__(None, None, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation as it is and adds what its formula says."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.add(func, args, kwargs, out)
        return out

    def add(self, func: Any, args: Any, kwargs: Any, out: Any) -> int:
        """Counts one operation that has run; gives its FLOPs."""
        packet = getattr(func, "overloadpacket", func)
        if packet in self._formulas:
            flops = int(self._formulas[packet](*args, **kwargs, out_val=out))
            self.total += flops
            return flops
        # What gives no tensor back asks for a shape, a type or a number.
        if isinstance(out, torch.Tensor | tuple | list) and not _cheap(func):
            self.unknown[packet.__name__] += 1
        return 0


def compiled(module: nn.Module) -> bool:
    """Whether torch.compile has a part in it: a mode that watches operations would make it fall back to eager."""
    return any(
        type(part).__name__ == "OptimizedModule" or vars(part).get("_compiled_call_impl") is not None
        for part in module.modules()
    )


@cache
def _cheap(func: Any) -> bool:
    if not isinstance(func, torch._ops.OpOverload):
        return False
    name = func.overloadpacket.__name__
    return func.is_view or not _PASSING.isdisjoint(func.tags) or name.startswith(_CHEAP)
