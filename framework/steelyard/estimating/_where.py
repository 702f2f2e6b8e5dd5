# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Which module an operation belongs to."""

from collections import Counter
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle


class Where:
    """Books FLOPs on the modules of a task as they are called; the way back is shared out like the way there.

    Args:
        root: Whose modules.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._names: dict[nn.Module, str] = {}
        self._called: list[str] = []
        self._hooks: list[RemovableHandle] = []
        self._flops: Counter[str] = Counter()
        self._there, self._all = 0, 0

    def start(self) -> None:
        """From now on."""
        # Some layers are made late.
        kind = type(self._root).__name__
        self._names = {module: ".".join(filter(None, (kind, path))) for path, module in self._root.named_modules()}
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]

    def stop(self) -> None:
        """Takes the hooks off again, if there are any."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def add(self, flops: int, *, forward: bool) -> None:
        """An operation that runs now.

        Args:
            flops: Of it.
            forward: False in the backward pass and after it, where a module may be called again.
        """
        self._all += flops
        if forward:
            self._there += flops
            for name in {*self._called} - {""}:
                self._flops[name] += flops

    def taken(self) -> Counter[str]:
        """FLOPs by module since it was last asked; one that lies inside another counts for both."""
        scale = self._all / (self._there or 1)
        found = Counter({name: round(scale * count) for name, count in self._flops.items()})
        self._flops.clear()
        self._there, self._all = 0, 0
        return found

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._called.append(self._names.get(module, ""))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._called:
            self._called.pop()
