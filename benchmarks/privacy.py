"""What a private step costs, against the same run without privacy, and against every mode of Opacus.

Non-private and private training go through `Trainer.fit`; Opacus trains in a bare loop, which flatters it. All in one
process, interleaved, CPU time, one thread, noise on, median of paired ratios. The first steps do not count: in four of
them the engine is held against the ordinary gradient, and in the others oneDNN makes its programs for each size of a
batch that it meets for the first time. Epsilon is logged every 50 steps, Lightning's pace.
Run: python benchmarks/privacy.py  (with --memory: the peaks instead, each in a process of its own; with --pieces: what
batches in pieces cost; with --floor: the least that such a step needs without hooks, draws, controls and Lightning)

Goals: geometric mean at most 1.25, no model above 1.55; at most 0.62 of the best Opacus mode of each model; at most
0.4 ms a step whatever the model; 16 physical batches at most 1.10 of one.
"""

import gc
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from statistics import mean, median

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from _private_floor import Floor
from _private_models import MODELS, by_opacus
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from private_runs import Examples, Task, fit, make_draft, objective
from steelyard import resident
from steelyard_privacy._accounting import Mechanism
from steelyard_privacy._draw_test import DrawTest
from steelyard_privacy._engine import HookEngine
from steelyard_privacy._randomness import Randomness
from steelyard_privacy._sampling import PoissonLoader, population_of
from steelyard_privacy._sums import Layout, Sums
from steelyard_privacy.dp_sgd import DPSGD

PAIRS = int(os.environ.get("PAIRS", "5"))
STEPS = int(os.environ.get("STEPS", "12"))
SKIPPED = int(os.environ.get("SKIPPED", "41"))
WARM = 3
"""Steps of Opacus that do not count, since its batches are of one size."""
BARE, FIRST = 40, 12
"""Steps without Lightning, and those before them that do not count."""
ROWS = 10_000_000
EPOCHS = 20
"""That are planned, of which one is trained, so that the ledger is written to as rarely as in a whole training."""
LIGHTNING = {"max_epochs": EPOCHS, "log_every_n_steps": 50}
MODES = ("hooks", "functorch", "ghost")


NUMBER = 16
"""Physical batches of a drawn one."""
PIECES = {
    "MLP 784-1024-1024-10, B 256": (256, 2048),
    "transformer d128 L4 T64, B 32": (32, 128),
    "CNN 3 conv, GroupNorm 32x32, B 32": (32, 256),
}
"""Sizes of drawn batches: of the table, and where plain training in pieces costs no more than whole."""


class Clocked(Task):
    """Notes the CPU time and the number of examples of each step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, lr=0.01)
        self.times: list[float] = []
        self.counts: list[int] = []

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        self.trainer.should_stop = len(self.times) + 1 == STEPS + SKIPPED
        self.times.append(time.process_time())
        self.counts.append(len(batch[0]))

    def training_step(self, batch: object, batch_idx: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


def per_example(times: list[float], counts: list[int], skipped: int = SKIPPED) -> float:
    """Seconds an example, from the start of the first step that counts to the start of the last."""
    return (times[-1] - times[skipped]) / sum(counts[skipped:-1])


def loader(make: Callable[[int], torch.Tensor], batch_size: int) -> DataLoader:
    torch.manual_seed(0)
    count = batch_size * (STEPS + SKIPPED)
    return DataLoader(TensorDataset(make(count), torch.randint(0, 10, (count,))), batch_size=batch_size, shuffle=True)


def plain(make_model: Callable[[], nn.Module], data: DataLoader) -> float:
    task = Clocked(make_model())
    draft = make_draft(task, Examples(lambda: data), **LIGHTNING)
    Trainer(**draft.trainer).fit(task, data)
    return per_example(task.times, task.counts)


def private(make_model: Callable[[], nn.Module], data: DataLoader, **options: object) -> float:
    task = Clocked(make_model())
    fit(DPSGD(target_epsilon=None, noise_multiplier=1.0, **options), task, Examples(lambda: data), **LIGHTNING)
    return per_example(task.times, task.counts)


def opacus(make_model: Callable[[], nn.Module], data: DataLoader, mode: str) -> float:
    model, optimizer, criterion = by_opacus(make_model(), data, mode)
    times, counts = [], []
    for inputs, targets in data:
        times.append(time.process_time())
        counts.append(len(inputs))
        optimizer.zero_grad()
        criterion(model(inputs), targets).backward()
        optimizer.step()
        if len(times) == STEPS + WARM:
            break
    # The model and its hooks hold each other, with gigabytes of gradients.
    del model, optimizer
    gc.collect()
    return per_example(times, counts, WARM)


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

    def seconds(run: Callable[[int], None], pieces: int) -> float:
        start = time.process_time()
        for _ in range(max(1, 2560 // count)):
            model.zero_grad()
            run(pieces)
        return time.process_time() - start

    found: list[float] = []
    for run in (plainly, privately):
        seconds(run, number)
        found.append(median(seconds(run, number) / seconds(run, 1) for _ in range(PAIRS)))
    return found[0], found[1]


def tiny() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10))


def ratios(name: str, runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    found: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(PAIRS):
        for key, run in runs.items():
            found[key].append(run())
    base = found["plain"]
    row = {key: median(a / b for a, b in zip(values, base, strict=True)) for key, values in found.items()}
    row["ms"] = 1e3 * median(base) * MODELS[name][2]
    return row


def memory(name: str, side: str) -> float:
    """Bytes that a fit takes at its peak beside the interpreter and the data; to be asked in a process of its own.

    The first steps count, in which the engine is held against the ordinary gradient. `cut` works on no more examples
    at once than a step without privacy has, where Poisson sampling draws more; `drawn` is the run without privacy on
    batches of such sizes.
    """
    make_model, make, batch_size = MODELS[name]
    largest = {"dp_sgd": None, "cut": batch_size, "halves": batch_size // 2}
    run = plain if side in ("plain", "drawn") else lambda m, d: private(m, d, max_physical_batch_size=largest[side])
    # What is loaded late is loaded before.
    run(tiny, loader(lambda count: torch.randn(count, 8), 8))
    data = loader(make, batch_size)
    if side == "drawn":
        steps = STEPS + SKIPPED
        places = (torch.rand(steps, len(data.dataset)) * steps < 1).unbind()
        data = DataLoader(data.dataset, batch_sampler=[place.nonzero()[:, 0].tolist() for place in places])
    resident.settle()
    before = resident.held()
    run(make_model, data)
    return resident.peak() - before


GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc's allocator then gives memory back as soon as it is free: what is left is what was held. As a training sets it,
it keeps what batches of ever new sizes have left behind, with or without privacy."""


def told_memory(name: str) -> None:
    sides = ("plain", "drawn", "dp_sgd", "cut", "halves")
    for how, settings in (("what is held", GIVES_BACK), ("allocator as a training sets it", {})):
        found: dict[str, float] = {}
        for side in sides:
            words = [sys.executable, __file__, "--memory", name, side]
            runs = [
                subprocess.run(
                    words, capture_output=True, check=True, text=True, env={**os.environ, "SKIPPED": "11", **settings}
                )
                for _ in range(PAIRS)
            ]
            found[side] = median(float(run.stdout) for run in runs)
        plain_mib = found["plain"] / 2**20
        told = " | ".join(f"{side} {found[side] / found['plain']:.2f}" for side in sides[1:])
        alike = found["dp_sgd"] / found["drawn"]
        print(f"{name:36} peak memory, {how}: plain {plain_mib:.0f} MiB | {told} (goal 1.25)", flush=True)
        print(f"{'':36} dp_sgd of drawn, whose batches are of such sizes, too: {alike:.2f}", flush=True)


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
        best = min(median(opacus(make_model, loader(make, count), mode) for _ in range(PAIRS)) for mode in MODES)
        told = f" | of the best Opacus mode {least * base / best / count:.2f}, {engine * base / best / count:.2f}"
    rules = ", ".join(sorted({rule.__name__ for rule in floor.rules.values()}))
    print(f"{name:36} plain {1e3 * base:6.1f} ms | floor {least:.3f} | engine {engine:.3f}{told} | {rules}", flush=True)
    return least, engine


def told_pieces(name: str, batch_size: int) -> None:
    """Pieces are for batches that are too large at once; in small ones the same weights are read again and again."""
    make_model, make, _ = MODELS[name]
    data, largest = loader(make, batch_size), -(-batch_size // NUMBER)
    cut = median(
        private(make_model, data, max_physical_batch_size=largest) / private(make_model, data) for _ in range(PAIRS)
    )
    plainly, privately = bare(make_model, make, batch_size, NUMBER)
    print(
        f"{name.split(',')[0]}, B {batch_size}: {NUMBER} physical batches of {largest}: {cut:.2f} of one (goal 1.10); "
        f"without Lightning {privately:.2f}, and without privacy, too, {plainly:.2f}",
        flush=True,
    )


def main() -> None:
    only = sys.argv[1:]
    # As at the start of every training of the command, private or not; Opacus has it, too.
    resident.keep()
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
                told_memory(name)
        return
    rows: dict[str, dict[str, float]] = {}
    for name, (make_model, make, batch_size) in MODELS.items():
        if only and not any(word in name for word in only):
            continue
        data = loader(make, batch_size)
        runs: dict[str, Callable[[], float]] = {
            "plain": lambda m=make_model, d=data: plain(m, d),
            "dp_sgd": lambda m=make_model, d=data: private(m, d),
        }
        if not os.environ.get("QUICK"):
            for mode in MODES:
                runs[mode] = lambda m=make_model, d=data, k=mode: opacus(m, d, k)
        rows[name] = ratios(name, runs)
        row = rows[name]
        best = min((row[mode] for mode in MODES if mode in row), default=float("nan"))
        told = "".join(f" | {key} {row[key]:.2f}" for key in ("dp_sgd", *MODES) if key in row)
        print(
            f"{name:36} plain {row['ms']:6.1f} ms{told} | of the best Opacus mode {row['dp_sgd'] / best:.2f}",
            flush=True,
        )
    print(f"geometric mean {exp(mean(log(row['dp_sgd']) for row in rows.values())):.3f} of non-private (goal 1.25)")
    if only:
        return
    small = loader(lambda count: torch.randn(count, 8), 8)
    overhead = median(8e3 * (private(tiny, small) - plain(tiny, small)) for _ in range(PAIRS))
    print(
        f"sampler of {ROWS:,} rows: {sampler():.3f} ms a step (goal 1); live epsilon {live():.1f} us a step (goal 50)"
    )
    print(f"fixed overhead {overhead:.2f} ms a step (goal 0.4)")


if __name__ == "__main__":
    import logging

    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    main()
