"""What a private step costs, against the same run without privacy, and against every mode of Opacus.

All go through `Trainer.fit`, the private ones on batches of Poisson sampling. CPU time, one thread, noise on, median of
paired ratios, twice: in one process, one fit after the other, where Opacus has the allocator as a training of the
command sets it; and in a process for each, by turns of some steps, where it has glibc's as it comes, as who uses Opacus
has, in several sets of processes. The first steps do not count: in four of them the engine is held against the ordinary
gradient, and in the others oneDNN makes its programs for each size of a batch that it meets for the first time. Epsilon
is logged every 50 steps, Lightning's pace.
Run: python benchmarks/privacy.py  (with --memory: the peaks instead, each in a process of its own; with --pieces: what
batches in pieces cost; with --floor: the least that such a step needs without hooks, draws, controls and Lightning;
with --fixed: what a private step takes whatever the model, alone)

Goals: geometric mean at most 1.25, no model above 1.55; at most 0.62 of the best Opacus mode of each model; at most
0.4 ms a step whatever the model; 16 physical batches at most 1.10 of one.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from math import exp, log
from pathlib import Path
from statistics import mean, median

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from _private_floor import Floor
from _private_memory import memory, told_memory
from _private_models import MODELS
from _private_trainings import LATER, SKIPPED, SOONER, WARM, loader, opacus, plain, private, seconds, small, tiny
from _private_turns import Turn, Worker, turns
from torch import nn
from torch.utils.data import DataLoader, Dataset

from private_runs import objective
from steelyard import resident
from steelyard_privacy._accounting import Mechanism
from steelyard_privacy._draw_test import DrawTest
from steelyard_privacy._engine import HookEngine
from steelyard_privacy._randomness import Randomness
from steelyard_privacy._sampling import PoissonLoader, population_of
from steelyard_privacy._sums import Layout, Sums

PAIRS = int(os.environ.get("PAIRS", "5"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
"""Turns of each process."""
SETS = int(os.environ.get("SETS", "5"))
"""Of processes, one a side: where memory lies in a process makes Opacus' hooks a quarter slower or quicker in it."""
BARE, FIRST = 40, 12
"""Steps without Lightning, and those before them that do not count."""
ROWS = 10_000_000
LONG, TIMES = 400, 9
"""Steps of a fit of the smallest model, whose steps take a millisecond, and pairs of such fits."""
MODES = ("hooks", "functorch", "ghost")


NUMBER = 16
"""Physical batches of a drawn one."""
PIECES = {
    "MLP 784-1024-1024-10, B 256": (256, 2048, 4096),
    "transformer d128 L4 T64, B 32": (32, 128, 512),
    "CNN 3 conv, GroupNorm 32x32, B 32": (32, 256, 512),
}
"""Sizes of drawn batches: of the table, where plain training in pieces costs no more than whole, and where each piece
is as large as a batch of the table."""


def sampler() -> float:
    """Milliseconds that a step's draw takes, with the test that watches it; making the batch does not count."""
    loader = DataLoader(Rows(), batch_size=256, shuffle=True)
    population = population_of(loader)
    watch = DrawTest(population=ROWS, rate=population.rate)
    poisson = PoissonLoader(
        source=loader, population=population, randomness=Randomness(None), step=lambda: 0, watch=watch.add
    )
    draws = poisson.draws()
    next(draws)
    start = time.process_time()
    for _ in range(500):
        next(draws)
    return (time.process_time() - start) / 500 * 1e3


def live() -> float:
    """Microseconds that the epsilon of another number of steps takes."""
    mechanism = Mechanism(rate=0.01, noise_multiplier=1.0, delta=1e-5)
    mechanism.live_epsilon(steps=1)
    start = time.process_time()
    for steps in range(2, 2002):
        mechanism.live_epsilon(steps=steps)
    return (time.process_time() - start) / 2000 * 1e6


class Rows(Dataset[int]):
    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> int:
        return index


def bare(
    make_model: Callable[[], nn.Module], make: Callable[[int], torch.Tensor], count: int, number: int
) -> tuple[float, float]:
    """What forward and backward of a batch cost in `number` pieces against the whole, and what the engine's sum."""
    model, inputs, targets = make_model(), make(count), torch.randint(0, 10, (count,))
    layout = Layout([weight for weight in model.parameters() if weight.requires_grad])
    engine, sums, loss = HookEngine(model, layout), Sums(layout), objective(model)

    def plainly(pieces: int) -> None:
        for piece in zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True):
            loss(piece).backward()

    def privately(pieces: int) -> None:
        sums.reset(patient=pieces > 1)
        for piece in zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True):
            engine.add_clipped(sums, piece, count=len(piece[0]), objective=loss, max_norm=1.0)
        sums.total()

    def took(run: Callable[[int], None], pieces: int) -> float:
        start = time.process_time()
        for _ in range(max(1, 2560 // count)):
            model.zero_grad()
            run(pieces)
        return time.process_time() - start

    found: list[float] = []
    for run in (plainly, privately):
        took(run, number)
        found.append(median(took(run, number) / took(run, 1) for _ in range(PAIRS)))
    return found[0], found[1]


def ratios(name: str) -> dict[str, float]:
    """To plain training, one fit after the other in this process."""
    make_model, make, _ = MODELS[name]
    data = loader(make, MODELS[name][2], skipped=skipped(name))
    found: dict[str, list[float]] = {key: [] for key in sides()}
    # The first fits of a process ask for memory that the others find, and make programs for sizes of batches.
    for run in (plain, private):
        seconds(run, make_model, data, skipped=skipped(name))
    for _ in range(PAIRS):
        for key, values in found.items():
            if key in MODES:
                values.append(seconds(opacus, make_model, data, mode=key, skipped=skipped(name)))
            else:
                values.append(seconds(plain if key == "plain" else private, make_model, data, skipped=skipped(name)))
    return against_plain(found, name)


def ratios_by_turns(name: str) -> dict[str, float]:
    """The same with a process for each: Opacus has glibc's allocator as it comes, as who uses it has."""
    words = [sys.executable, __file__, "--turns", name]
    found: dict[str, list[float]] = {key: [] for key in sides()}
    for _ in range(SETS):
        workers = {key: Worker([*words, key], warm=warm(name, key)) for key in found}
        for key, values in turns(workers, rounds=ROUNDS).items():
            found[key] += values
        for worker in workers.values():
            worker.end()
    return against_plain(found, name)


def work(name: str, side: str) -> None:
    """Trains as long as the other process asks for it."""
    make_model, make, batch_size = MODELS[name]
    data = loader(make, batch_size, skipped=skipped(name))
    if side in MODES:
        opacus(make_model, data, Turn(), side)
    else:
        resident.keep()
        (plain if side == "plain" else private)(make_model, data, Turn())


def skipped(name: str) -> int:
    return next((steps for kind, steps in (("transformer", SOONER), ("CNN", LATER)) if kind in name), SKIPPED)


def warm(name: str, side: str) -> int:
    return WARM if side in MODES and skipped(name) != LATER else skipped(name)


def sides() -> tuple[str, ...]:
    return ("plain", "dp_sgd") if os.environ.get("QUICK") else ("plain", "dp_sgd", *MODES)


def against_plain(found: dict[str, list[float]], name: str) -> dict[str, float]:
    base = found["plain"]
    row = {key: median(a / b for a, b in zip(values, base, strict=True)) for key, values in found.items()}
    row["ms"] = 1e3 * median(base) * MODELS[name][2]
    row["of best"] = row["dp_sgd"] / min((row[mode] for mode in MODES if mode in row), default=float("nan"))
    return row


def told_rows(how: str, rows: Sequence[dict[str, float]]) -> None:
    found, best = (exp(mean(log(row[key]) for row in rows)) for key in ("dp_sgd", "of best"))
    print(
        f"geometric mean, {how}: {found:.3f} of non-private (goal 1.25), {best:.2f} of the best Opacus mode (goal 0.62)"
    )


def told_floor(name: str) -> tuple[float, float]:
    """The least that a private step needs over a plain one, and what the engine needs."""
    make_model, make, count = MODELS[name]
    torch.manual_seed(0)
    floor = Floor(make_model(), make(count), torch.randint(0, 10, (count,)))
    floor.check()
    steps = {"plain": floor.plain, "floor": floor.step, "engine": floor.private}
    times: dict[str, list[float]] = {key: [] for key in steps}
    for _ in range(FIRST + BARE):
        for key, step in steps.items():
            floor.optimizer.zero_grad()
            start = time.process_time()
            step()
            times[key].append(time.process_time() - start)
    least, engine = (
        median(a / b for a, b in zip(times[key][FIRST:], times["plain"][FIRST:], strict=True))
        for key in ("floor", "engine")
    )
    told, base = "", median(times["plain"][FIRST:])
    if not os.environ.get("QUICK"):
        data = loader(make, count)
        best = min(median(seconds(opacus, make_model, data, mode=mode) for _ in range(PAIRS)) for mode in MODES)
        told = f" | of the best Opacus mode {least * base / best / count:.2f}, {engine * base / best / count:.2f}"
    rules = ", ".join(sorted({rule.__name__ for rule in floor.rules.values()}))
    print(f"{name:36} plain {1e3 * base:6.1f} ms | floor {least:.3f} | engine {engine:.3f}{told} | {rules}", flush=True)
    return least, engine


def told_pieces(name: str, batch_size: int) -> None:
    """Pieces are for batches that are too large at once; in small ones the same weights are read again and again."""
    make_model, make, _ = MODELS[name]
    data, largest = loader(make, batch_size), -(-batch_size // NUMBER)
    cut = median(
        seconds(private, make_model, data, max_physical_batch_size=largest)
        / seconds(private, make_model, data, max_physical_batch_size=10 * batch_size)
        for _ in range(PAIRS)
    )
    plainly, privately = bare(make_model, make, batch_size, NUMBER)
    print(
        f"{name.split(',')[0]}, B {batch_size}: {NUMBER} physical batches of {largest}: {cut:.2f} of one (goal 1.10); "
        f"without Lightning {privately:.2f}, and without privacy, too, {plainly:.2f}",
        flush=True,
    )


def told_fixed() -> None:
    data = small(steps=LONG)

    def taken(run: Callable[..., None]) -> float:
        return 8e3 * seconds(run, tiny, data, steps=LONG)

    overhead = median(taken(private) - taken(plain) for _ in range(TIMES))
    print(
        f"sampler of {ROWS:,} rows: {sampler():.3f} ms a step (goal 1); live epsilon {live():.1f} us a step (goal 50)"
    )
    print(f"fixed overhead {overhead:.2f} ms a step (goal 0.4)")


def main() -> None:
    only = sys.argv[1:]
    if only[:1] == ["--turns"]:
        work(*only[1:])
        return
    # As at the start of every training of the command, private or not; Opacus has it, too.
    resident.keep()
    if only[:1] == ["--fixed"]:
        told_fixed()
        return
    if only[:1] == ["--pieces"]:
        for name, sizes in PIECES.items():
            for size in sizes:
                told_pieces(name, size)
        return
    if only[:1] == ["--floor"]:
        found = [told_floor(name) for name in MODELS if not only[1:] or any(word in name for word in only[1:])]
        least, engine = (exp(mean(map(log, column))) for column in zip(*found, strict=True))
        print(f"geometric mean of a bare plain step: floor {least:.3f}, engine {engine:.3f}")
        return
    if only[:1] == ["--memory"]:
        if only[1:]:
            print(memory(*only[1:]))
        else:
            for name in MODELS:
                told_memory(name, PAIRS)
        return
    names = [name for name in MODELS if not only or any(word in name for word in only)]
    found: dict[str, list[dict[str, float]]] = {"one process": [], "one each": []}
    for name in names:
        for (how, rows), measure in zip(found.items(), (ratios, ratios_by_turns), strict=True):
            row = measure(name)
            rows.append(row)
            told = "".join(f" | {key} {row[key]:.2f}" for key in sides()[1:])
            print(
                f"{name:34} {how:11} plain {row['ms']:6.1f} ms{told} | of the best Opacus mode {row['of best']:.2f}",
                flush=True,
            )
    for how, rows in found.items():
        told_rows(how, rows)
    if only:
        return
    told_fixed()


if __name__ == "__main__":
    import logging

    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    main()
