"""The share of the processor that this thread gets, as the kernel sees it."""

from pathlib import Path

_COUNTED = Path("/proc/thread-self/schedstat")
BUSY = 0.1
"""The share of its time that a run waits for a processor from which on its times are called into question."""


def waited(*, since: float | None = 0.0) -> float | None:
    """Seconds for which this thread was ready to go on, while others had the processors; None where nobody says.

    Linux counts them for each thread (its documentation calls them the run delay). Waiting for data, for a device or
    for another thread is not in them, nor what a host takes away from a virtual machine.

    Args:
        since: What this function said at the start of what is asked about; 0 for the start of the thread.
    """
    try:
        words = _COUNTED.read_text().split()
    except OSError:
        return None
    return None if since is None or len(words) < 2 else int(words[1]) * 1e-9 - since
