"""The high-water mark of memory."""

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

MIB = 1024 * 1024
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A high-water mark.

    Attributes:
        mib: How much.
        of: What was watched, and since when.
    """

    mib: float
    of: str


class HighWater:
    """Watches the memory of a device; on the CPU, that of the process.

    Args:
        device: Where the task is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._fresh = device.type == "cuda" or _cleared()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> Peak:
        """The mark so far."""
        if self._device.type == "cuda":
            return Peak(
                mib=torch.cuda.max_memory_allocated(self._device) / MIB,
                of=f"tensors on {torch.cuda.get_device_name(self._device)}, from the start to the end of training",
            )
        since = "from the start to the end of training" if self._fresh else "since the process began"
        return Peak(mib=_resident() / MIB, of=f"the whole process (resident), {since}")


def _cleared() -> bool:
    """Lets Linux forget the old mark, so that an earlier run in this process does not count."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _resident() -> int:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
