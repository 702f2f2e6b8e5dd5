"""Whether what the advisor calls fitting fits, and saves what it says: 20 configs against real trainings.

Run: python benchmarks/advice.py [lean] [runs=N] [MODEL...]

Each config is five models' plain training with one lever pulled or a smaller batch. It is trained for two short epochs
by `steelyard run`, whose data segment may not grow in the training by more than the advisor says is to be left
(RLIMIT_DATA), and some for what is never written to: a process that asks for more gets an exception. If it grows by
more than is to be left, or by so much that it ends, in any of N trainings (1), the config did not fit; else the middle
one counts, since where an object lies on the heap, and so how far it grows, is left to chance. What is saved is looked
at in tensors (torch's profiler, in a process of its own) and in the resident process. The command gives itself an
allocator without a cache of small chunks; `lean` gives it one that gives back what is freed.

Goals: all fit; what is saved of the whole is within 10 % of the whole.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from omegaconf import DictConfig
from pytorch_lightning import seed_everything

from steelyard import assembly, building, training
from steelyard.advising.advice import need
from steelyard.cli._anew import without_cache
from steelyard.composing import compose
from steelyard.estimating._heap import LEAN
from steelyard.estimating.estimate import ONCE
from steelyard.planning import foreseen
from steelyard.selection import plugins_of

MIB = 2**20
EPOCHS = 2
BARE = (
    "privacy=none",
    "stability=none",
    "interpretability=none",
    "compute=none",
    "trainer.limit_val_batches=0",
    "trainer.enable_progress_bar=false",
)
QUARTER = "a quarter of the batch"
MODELS = {
    "MLP": ("data=digits model=mlp model.hidden=[1536,1536,1536]", 512),
    "CNN": ("data=digits model=cnn model.channels=[64,128]", 512),
    "ResNet": ("data=digits model=resnet model.widths=[32,64,128] model.norm=group", 1024),
    "GPT": ("experiment=language_model data.limit=192", 64),
    "T5": ("experiment=translation data.limit=192 model=t5 model.width=256", 64),
}
LEVERS = {
    "MLP": ("checkpointing", "optimizer_8bit", "lora", "precision"),
    "CNN": ("checkpointing", "accumulation", "precision", QUARTER),
    "ResNet": ("checkpointing", "accumulation", "optimizer_8bit", QUARTER),
    "GPT": ("checkpointing", "accumulation", "lora", QUARTER),
    "T5": ("optimizer_8bit", "lora", "precision", QUARTER),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Bytes.

    Attributes:
        said: Of tensors, foreseen.
        likely: By which the process grows, foreseen.
        left: The limit of the process.
        tensors: Real.
        grown: By which the process grew in each of its trainings; 0 where it did not fit.
    """

    said: int
    likely: int
    left: int
    tensors: int
    grown: list[int]

    @property
    def fits(self) -> bool:
        return all(self.grown)

    @property
    def middle(self) -> float:
        return median(self.grown)


def words(model: str, lever: str = "") -> list[str]:
    line, rows = MODELS[model]
    if lever == "accumulation":
        return [
            *line.split(),
            *BARE,
            "compute=[accumulation]",
            f"data.batch_size={rows // 4}",
            "compute.accumulation.batches=4",
        ]
    if lever == QUARTER:
        return [*line.split(), *BARE, f"data.batch_size={rows // 4}"]
    return [*line.split(), *BARE, f"data.batch_size={rows}", *([f"compute=[{lever}]"] if lever else [])]


def whole(line: list[str]) -> list[str]:
    return [*line, "checkpoints=none", f"trainer.max_epochs={EPOCHS}"]


def configured(line: list[str]) -> DictConfig:
    return compose(*whole(line)).config


def look(line: list[str], *, lean: bool, runs: int) -> Seen:
    estimate = foreseen(configured(line)).estimate
    assert estimate is not None
    left = need(estimate, lean=lean)
    environment = {**os.environ, **(LEAN if lean else {})}
    grown = [one if one <= left else 0 for one in (run(line, left, environment) for _ in range(runs))]
    command = [sys.executable, __file__, "child", *line]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if told.returncode:
        sys.exit(f"{line}: {told.stderr[-1000:]}")
    tensors = int(told.stdout.splitlines()[-1])
    likely = estimate.process_bytes if not lean else estimate.held_lean + ONCE
    return Seen(said=estimate.tensor_bytes, likely=likely, left=left, tensors=tensors, grown=grown)


def run(line: list[str], left: int, environment: dict[str, str]) -> int:
    """Bytes by which a run's process grew in its training, 0 where it was left too little."""
    places = os.pathsep.join(filter(None, (str(Path(__file__).parent), environment.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grown"
        watch = f"trainer.callbacks=[{{_target_:_advice_watch.Limited,left:{left},path:{path}}}]"
        command = [sys.executable, "-m", "steelyard", "run", *whole(line), watch]
        told = subprocess.run(
            command, cwd=folder, env={**environment, "PYTHONPATH": places}, capture_output=True, text=True, check=False
        )
        if not path.exists():
            sys.exit(f"{line}: {told.stderr[-1000:]}")
        return int(path.read_text())


def child(line: list[str]) -> None:
    """Prints the peak of the tensors of a training."""
    config = configured(line)
    data = building.make_data(config)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        train(config, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    print(int(max(accumulate(event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])))))


def train(config: DictConfig, data: Any) -> None:
    seed_everything(0, verbose=False)
    draft = building.make_draft(config, data)
    selected = plugins_of(config)
    attachments = assembly.attach(selected, draft)
    with tempfile.TemporaryDirectory() as folder:
        trainer = training.make_trainer(config, draft, selected, attachments, Path(folder))
        training.fit(trainer, draft, None)


def main() -> None:
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2:])
        return
    environment = without_cache(os.environ)
    if environment is not None:
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    lean = "lean" in sys.argv
    runs = next((int(word.partition("=")[2]) for word in sys.argv if word.startswith("runs=")), 1)
    cases, fitted, off, off_process = 0, 0, list[float](), list[float]()
    chosen = [word for word in sys.argv[1:] if word in LEVERS] or [*LEVERS]
    for model in chosen:
        levers = LEVERS[model]
        plain = look(words(model), lean=lean, runs=runs)
        tell(model, "as it is", plain)
        for lever in levers:
            one = look(words(model, lever), lean=lean, runs=runs)
            cases, fitted = cases + 1, fitted + one.fits
            off.append(abs(one.said / plain.said - one.tensors / plain.tensors))
            off_process.append(abs(one.likely / plain.likely - one.middle / plain.middle))
            tell(model, lever, one)
            tensors = f"{1 - one.said / plain.said:.1%}, really {1 - one.tensors / plain.tensors:.1%}"
            process = f"{1 - one.likely / plain.likely:.1%}, really {1 - one.middle / plain.middle:.1%}"
            print(f"{'':10} saved of tensors {tensors}; of the process {process}", flush=True)
    within = f"{sum(one <= 0.1 for one in off)} and {sum(one <= 0.1 for one in off_process)} within 10 %"
    print(f"{fitted} of {cases} fit; what is saved is off by at most")
    print(f"{max(off):.1%} of the tensors and {max(off_process):.1%} of the process; {within}")


def tell(model: str, lever: str, seen: Seen) -> None:
    grown = ", ".join(f"{one / MIB:.1f}" for one in sorted(seen.grown))
    fits = f"grew by {grown}" if seen.fits else f"DID NOT FIT: {grown}"
    print(
        f"{model:10} {lever:22} tensors {seen.said / MIB:.1f} foreseen, {seen.tensors / MIB:.1f} real; process "
        f"{seen.likely / MIB:.1f} likely, {seen.left / MIB:.1f} left, {fits} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
