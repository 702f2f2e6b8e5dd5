"""The high-water mark of memory."""

from dataclasses import dataclass

import torch
from torch import nn

from steelyard import resident

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A high-water mark.

    Attributes:
        mib: What the training took, the model's weights included.
        of: What was watched, and since when.
        process: The whole process, in MiB; None on a device with memory of its own.
    """

    mib: float
    of: str
    process: float | None


class HighWater:
    """Watches the memory that training takes on a device; on the CPU, what it adds to the process.

    What the process held before (libraries, data, what a forked trial has from its parent) is not in it, but for the
    weights of the task, so that a run in a process of its own and a trial of a sweep say the same. Neither are pages of
    files that came since, such as code of libraries that had not run before: the kernel takes them back when memory is
    short.

    Args:
        task: About to be trained.
        device: Where it is.
    """

    def __init__(self, task: nn.Module, device: torch.device) -> None:
        self._device = device
        tensors = {id(tensor): tensor for tensor in [*task.parameters(), *task.buffers()]}
        self._model = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        self._growth = resident.Growth()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def look(self) -> None:
        """To be called often while training runs, since pages of files are told from others only now."""
        if self._device.type != "cuda":
            self._growth.look()

    def read(self) -> Peak:
        """The mark so far."""
        if self._device.type == "cuda":
            return Peak(
                mib=torch.cuda.max_memory_allocated(self._device) / MIB,
                of=f"tensors on {torch.cuda.get_device_name(self._device)}, from the start to the end of training",
                process=None,
            )
        if not self._growth.whole:
            # The mark may be from before the training.
            return Peak(
                mib=resident.peak() / MIB,
                of="the whole process (resident) since it began; this system does not say what training added",
                process=resident.peak() / MIB,
            )
        before = self._growth.before
        return Peak(
            mib=(self._model + self._growth.bytes()) / MIB,
            of=f"{self._model / MIB:.2f} MiB of the model, and what training added to the process (resident); "
            f"the {max(before - self._model, 0) / MIB:.0f} MiB of libraries, data and parent are not in it",
            process=resident.peak() / MIB,
        )
