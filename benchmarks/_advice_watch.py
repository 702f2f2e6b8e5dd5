"""A callback of a run whose training gets no more memory than it is left, for `advice.py`."""

import resource
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from steelyard import resident
from steelyard.short_memory import ran_out

RESERVED = 32 * 2**20
"""oneDNN takes 256 KiB of addresses for a program, which the limit counts, and writes to few pages of it: 24 MiB for a
ResNet in batches of two sizes, of which 0.6 are memory."""


class Limited(Callback):
    """Counts by how much the process grows in a training, its weights included, and lets it grow by so much.

    Args:
        left: Bytes.
        path: File for the bytes by which it grew, 0 where it asked for more.
    """

    def __init__(self, left: int, path: str) -> None:
        self._left = left
        self._path = Path(path)
        self._weights = 0
        self._growth: resident.Growth | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        tensors = {id(tensor): tensor for tensor in [*pl_module.parameters(), *pl_module.buffers()]}
        self._weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        self._growth = resident.Growth()
        status = Path("/proc/self/status").read_text().splitlines()
        segment = next(int(row.split()[1]) * 1024 for row in status if row.startswith("VmData:"))
        more = self._left - self._weights + RESERVED
        resource.setrlimit(resource.RLIMIT_DATA, (segment + more, resource.RLIM_INFINITY))

    # Pages of files are told from others only while they come.
    def on_before_backward(self, *_: object) -> None:
        self._look()

    def on_after_backward(self, *_: object) -> None:
        self._look()

    def on_train_batch_end(self, *_: object) -> None:
        self._look()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._growth is not None:
            self._end(self._weights + self._growth.bytes())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._growth is not None and ran_out(exception):
            self._end(0)

    def _look(self) -> None:
        if self._growth is not None:
            self._growth.look()

    def _end(self, grown: int) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self._path.write_text(str(grown))
