"""What the benchmarks share: CPU seconds, ratios of pairs, and a line for each goal."""

import time
from collections.abc import Callable
from statistics import median


def clocked(act: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    act()
    return time.process_time() - start


def ratio(slow: Callable[[], object], fast: Callable[[], object], *, rounds: int = 5) -> float:
    """How many times as fast, as the median of pairs; the first pair warms up, and each side goes first in turn."""
    clocked(slow)
    clocked(fast)
    found: list[float] = []
    for turn in range(rounds):
        first, second = (slow, fast) if turn % 2 else (fast, slow)
        times = clocked(first), clocked(second)
        found.append(times[0] / times[1] if turn % 2 else times[1] / times[0])
    return median(found)


def told(what: str, found: float, goal: float, *, least: bool = True) -> None:
    """Prints what was found beside its goal."""
    good = found >= goal if least else found <= goal
    words = "at least" if least else "at most"
    print(f"{what:72} {found:7.2f}   goal {words} {goal:g}: {'met' if good else 'NOT MET'}", flush=True)
