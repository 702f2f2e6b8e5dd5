# pyright: reportUnknownMemberType=false
"""Which module an operation belongs to."""

import logging
from collections import Counter

from torch import nn
from torch.utils.module_tracker import ModuleTracker


class Where:
    """Books FLOPs on the modules of a task, in the forward and in the backward pass.

    Attributes:
        flops: By module; one that lies inside another counts for both.
    """

    def __init__(self, root: nn.Module) -> None:
        self.flops: Counter[str] = Counter()
        self._name = type(root).__name__
        self._tracker = ModuleTracker()
        self._started = False

    def start(self) -> None:
        """From now on."""
        logging.getLogger("torch.utils.module_tracker").setLevel(logging.CRITICAL)
        self._tracker.__enter__()
        self._started = True

    def stop(self) -> None:
        """Takes the hooks off again, if there are any."""
        if self._started:
            self._tracker.__exit__()
            self._started = False

    def add(self, flops: int) -> None:
        """An operation that runs now."""
        for name in self._tracker.parents:
            self.flops[name] += flops
