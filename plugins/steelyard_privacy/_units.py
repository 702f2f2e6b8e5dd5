# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Per-example gradients of modules that no rule knows: the module's own forward is run again, for each example alone.

The rest of the task is worked through once, as everywhere. What comes out is right only where a module gives the same
again: one that draws random numbers, or mixes examples, is found out by the check of the sum.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import Parameter
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_flatten, tree_unflatten

from steelyard_privacy._recording import Visit
from steelyard_privacy.dp_sgd import Way

CLOSE, SMALL = 1e-3, 1e-5
"""How far the outputs of a second run may lie from those of the first, relatively and for each number."""
MASK = 5
"""The place of `attn_mask` among the arguments of attention."""


class Unsplit(RuntimeError):
    """The examples of a module's inputs and outputs cannot be told apart."""


def is_whole(module: nn.Module) -> bool:
    """True where a module uses the weights of its children without calling them."""
    return isinstance(module, nn.MultiheadAttention) or is_parametrized(module)


@final
class Unit:
    """A module and the weights that it answers for.

    Args:
        path: Where the module stands in the task.
        module: The module.
        weights: By their names in the module.
        way: How its examples are told apart, and how else is not tried; None: `vmap`, and `loop` where that fails.
    """

    def __init__(
        self, path: str, module: nn.Module, weights: Mapping[str, Parameter], *, way: Way | None = None
    ) -> None:
        self.path = path
        self.module = module
        self.weights = dict(weights)
        self.way: Way = way or "vmap"
        self._set = way is not None

    def samples(self, visit: Visit, backprops: Sequence[Tensor | None], *, count: int) -> dict[Parameter, Tensor]:
        """The gradients of `count` examples, each (count, *shape), in at least single precision.

        Args:
            visit: One call of the module.
            backprops: The gradients of its outputs that take part in the graph.
            count: Number of examples.

        Raises:
            Unsplit: If it is not clear which dimension holds the examples.
        """
        again = _Again(self, visit, backprops, count)
        if self.way == "vmap" and not self._set:
            try:
                return self._named(again.at_once())
            except Exception:  # vmap has no one way to say that it cannot do a module
                self.way = "loop"
        try:
            return self._named(again.at_once() if self.way == "vmap" else again.one_by_one())
        except Exception as error:  # a module that was not made for one example may fail in any way
            raise Unsplit(
                f"{self.path or 'the task itself'} cannot be run again for single examples: {error}"
            ) from error

    def _named(self, found: Mapping[str, Tensor]) -> dict[Parameter, Tensor]:
        return {self.weights[name]: samples for name, samples in found.items()}


@final
class _Again:
    """One call, to be run again for single examples."""

    def __init__(self, unit: Unit, visit: Visit, backprops: Sequence[Tensor | None], count: int) -> None:
        self._module = unit.module
        self._weights = {name: weight.detach() for name, weight in unit.weights.items()}
        self._leaves, self._spec = tree_flatten((visit.args, visit.kwargs))
        self._count = count
        fixed = _shared(visit)
        self._where = [
            None if leaf is fixed else _place(unit.module, leaf, place, count)
            for place, leaf in enumerate(self._leaves)
        ]
        pairs = [(place, back) for place, back in zip(visit.places, backprops, strict=True) if back is not None]
        self._places = [place for place, _ in pairs]
        self._backs = [back for _, back in pairs]
        self._outputs = [output for output, back in zip(visit.outputs, backprops, strict=True) if back is not None]
        found = [_place(unit.module, back, place, count) for place, back in pairs]
        if None in found or all(where is None for where in self._where):
            raise Unsplit(f"{unit.path or 'the task itself'} does not see the examples where they are looked for")
        self._where_out = [where for where in found if where is not None]

    def at_once(self) -> dict[str, Tensor]:
        """By a vectorised map."""
        with warnings.catch_warnings():
            # That some operation has no quick rule is no reason for the loop, which is slower still.
            warnings.simplefilter("ignore")
            moving = [leaf for leaf, where in zip(self._leaves, self._where, strict=True) if where is not None]
            places = [where for where in self._where if where is not None]

            def one(weights: dict[str, Tensor], mine: list[Tensor], backs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
                whole = iter(part.unsqueeze(where) for part, where in zip(mine, places, strict=True))
                leaves = [
                    leaf if where is None else next(whole)
                    for leaf, where in zip(self._leaves, self._where, strict=True)
                ]
                backs = [back.unsqueeze(where) for back, where in zip(backs, self._where_out, strict=True)]
                loss, outputs = self._objective(weights, leaves, backs)
                return loss, [output.squeeze(where) for output, where in zip(outputs, self._where_out, strict=True)]

            mapped = vmap(grad(one, has_aux=True), in_dims=(None, places, self._where_out), randomness="error")
            found, outputs = mapped(self._weights, moving, self._backs)
            self._compare([output.movedim(0, where) for output, where in zip(outputs, self._where_out, strict=True)])
            return dict(found)

    def one_by_one(self) -> dict[str, Tensor]:
        """By a loop."""
        found: list[tuple[Tensor, ...]] = []
        again: list[list[Tensor]] = []
        for index in range(self._count):
            with torch.enable_grad():
                weights = {name: weight.clone().requires_grad_() for name, weight in self._weights.items()}
                leaves = [_cut(leaf, where, index) for leaf, where in zip(self._leaves, self._where, strict=True)]
                backs = [_cut(back, where, index) for back, where in zip(self._backs, self._where_out, strict=True)]
                loss, outputs = self._objective(weights, leaves, backs)
                again.append([output.detach() for output in outputs])
                found.append(torch.autograd.grad(loss, list(weights.values()), materialize_grads=True))
        whole = zip(zip(*again, strict=True), self._where_out, strict=True)
        self._compare([torch.cat(parts, dim=where) for parts, where in whole])
        return {name: torch.stack(each) for name, each in zip(self._weights, zip(*found, strict=True), strict=True)}

    def _compare(self, again: Sequence[Tensor]) -> None:
        """What was shared by mistake, mixed or drawn anew shows in the outputs."""
        for mine, true in zip(again, self._outputs, strict=True):
            if not bool((mine - true).norm() <= CLOSE * true.norm() + SMALL * math.sqrt(true.numel())):
                raise Unsplit("it gives something else when it is run again for single examples")

    def _objective(
        self, weights: dict[str, Tensor], leaves: list[Any], backs: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        args, kwargs = tree_unflatten(leaves, self._spec)
        given = tree_flatten(functional_call(self._module, weights, args, kwargs))[0]
        outputs = [given[place] for place in self._places]
        products = [(output * back).sum() for output, back in zip(outputs, backs, strict=True)]
        return torch.stack(products).sum(), outputs


def _shared(visit: Visit) -> Any:
    """Attention's mask of positions: its first dimension may have any length."""
    if not isinstance(visit.module, nn.MultiheadAttention):
        return None
    return visit.args[MASK] if len(visit.args) > MASK else visit.kwargs.get("attn_mask")


def _cut(leaf: Any, where: int | None, index: int) -> Any:
    return leaf if where is None else leaf.narrow(where, index, 1)


def _place(module: nn.Module, leaf: Any, place: int, count: int) -> int | None:
    """The dimension of the examples in a module's input or output; None where all examples share it."""
    if not isinstance(leaf, Tensor):
        return None
    where = 0
    if isinstance(module, nn.RNNBase):
        # The states that come second have the examples in the middle, whatever `batch_first` says.
        where = 0 if module.batch_first and place == 0 else 1
    elif isinstance(module, nn.MultiheadAttention):
        where = 0 if module.batch_first or leaf.dtype == torch.bool else 1
    return where if leaf.ndim > where and leaf.shape[where] == count else None
