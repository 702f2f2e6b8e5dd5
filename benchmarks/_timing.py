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
    """How many times as fast, as the median of pairs measured in turn; the first pair warms up."""
    pairs = [(clocked(slow), clocked(fast)) for _ in range(rounds + 1)][1:]
    return median(long / short for long, short in pairs)


def told(what: str, found: float, goal: float, *, least: bool = True) -> None:
    """Prints what was found beside its goal."""
    good = found >= goal if least else found <= goal
    words = "at least" if least else "at most"
    print(f"{what:72} {found:7.2f}   goal {words} {goal:g}: {'met' if good else 'NOT MET'}", flush=True)
