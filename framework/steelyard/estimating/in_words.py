"""An estimate for the terminal."""

from collections.abc import Iterator, Mapping

from steelyard.devices import first_gpu, workspaces
from steelyard.estimating._heap import rules_of
from steelyard.estimating.estimate import Estimate
from steelyard.estimating.machines import CONTEXT, GIB, Machine, free_bytes, own_bytes
from steelyard.report.numbers import duration

MODULES = 6
WITHIN, CACHED = 0.15, 0.35
"""Of the median of the replays, most runs of the benchmarks: as the command runs, and with glibc's cache of small
chunks, which a process has that was not started by it."""


def size(count: float) -> str:
    """Bytes with a unit that suits them."""
    for unit, scale in (("GiB", GIB), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count:,.0f} B"


def process_bytes(estimate: Estimate, *, before: int | None = None) -> int:
    """Resident memory of a whole process on the CPU: what it holds before training, and what that adds."""
    return (own_bytes() if before is None else before) + estimate.process_bytes


def rows(estimate: Estimate, *, steps: int | None, target: Machine | None, precision: str) -> Iterator[tuple[str, str]]:
    """Lines of two columns."""
    parts = [f"{kind} {size(count)}" for kind, count in estimate.memory.items() if count]
    yield "tensor memory", f"{size(estimate.tensor_bytes)} at the peak: {', '.join(parts)}"
    if target is not None:
        yield from _on(target, estimate, steps=steps, precision=precision)
    elif estimate.gpu:
        yield from _here(estimate)
    else:
        need, free = process_bytes(estimate), free_bytes()
        rules = rules_of()
        most = CACHED if rules.dynamic and rules.kept else WITHIN
        within = f"{size(estimate.process_bytes)} of training, mostly within {most:.0%}"
        if estimate.held_most > 1.02 * estimate.held:
            within += f", by the holes of its heap; {size(estimate.safe_bytes)} where chance is against it"
        yield "process memory", f"about {size(need)} on the CPU: {size(own_bytes())} before the first tensor, {within}"
        if free is not None:
            more = need - own_bytes()
            yield ("fits", f"yes, {size(free)} are free") if more <= free else ("DOES NOT FIT", _short(more, free))
    shares = _shares(estimate)
    if shares:
        yield "FLOPs by module", ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if estimate.uneven:
        yield "batches", estimate.uneven
    for what in estimate.uncounted:
        yield "not counted", what
    if estimate.assumed:
        yield "assumed", f"one, or true, wherever the training looks at a number: {', '.join(estimate.assumed)}"


def _here(estimate: Estimate) -> Iterator[tuple[str, str]]:
    free, major = first_gpu()
    need = estimate.gpu_bytes(major)
    taken = f"{size(sum(estimate.on_gpu.values()))} of tensors and {size(workspaces(major))} for cuBLAS"
    yield "GPU memory", f"about {size(need)}: {taken}; the driver's own, some {CONTEXT:g} GiB, comes on top"
    if free is not None:
        more = need + CONTEXT * GIB
        yield ("fits", f"yes, {size(free)} are free") if more <= free else ("DOES NOT FIT", _short(more, free))


def _on(target: Machine, estimate: Estimate, *, steps: int | None, precision: str) -> Iterator[tuple[str, str]]:
    room = (target.gib - CONTEXT) * GIB
    yield "machine", f"{target.title}: {target.gib:g} GiB, {target.bandwidth / 1e12:g} TB/s ({target.source})"
    need = estimate.gpu_bytes(target.major)
    yield ("fits", f"yes, in {size(room)}") if need <= room else ("DOES NOT FIT", _short(need, room))
    peak = target.peak(precision)
    step = estimate.flops / peak
    text = f"{duration(step)} a step at the least ({peak / 1e12:g} TFLOP/s), {duration(step / 0.4)} at 40 % of the peak"
    yield "time", text if steps is None else f"{text}; {duration(steps * step / 0.4)} for {steps:,} steps"


def _short(need: float, room: float) -> str:
    return f"it needs {size(need)} and there are {size(room)}: data.batch_size=... (smaller)"


def _shares(estimate: Estimate) -> Mapping[str, float]:
    """The largest parts, in the first module that has several: those that are called in it, at whatever depth."""
    if not estimate.flops:
        return {}
    names = {name.partition(".")[2]: flops for name, flops in estimate.modules.items() if "." in name}
    level = _inside("", names)
    while len(level) == 1:
        below = _inside(level[0], names)
        if not below:
            break
        level = below
    first = sorted(level, key=lambda name: -names[name])[:MODULES]
    return {name: names[name] / estimate.flops for name in first}


def _inside(module: str, names: Mapping[str, int]) -> list[str]:
    """Those that lie in a module and in none of the others in it."""
    within = [name for name in names if name != module and name.startswith(f"{module}." if module else "")]
    return [name for name in within if not any(name.startswith(f"{other}.") for other in within)]
