"""`steelyard doctor`: one line for each thing that a run needs, with what to do about it."""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from steelyard import registry
from steelyard.cli import _console
from steelyard.cli._main import Exit
from steelyard.cli._verbs import VERBS
from steelyard.problem import Refused

LIBRARIES = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy")
EXTRAS = {
    "text": ("transformers", "tokenizers", "peft", "datasets", "sacrebleu", "rouge_score"),
    "vision": ("transformers", "pycocotools", "PIL"),
    "speech": ("transformers", "soundfile"),
    "keras": ("keras",),
    "lightning": ("jsonargparse",),
    "privacy": ("dp_accounting",),
    "optuna": ("optuna",),
    "energy": ("codecarbon",),
    "quantus": ("quantus",),
    "joblib": ("joblib",),
    "submitit": ("submitit",),
    "ray": ("ray",),
    "deepspeed": ("deepspeed",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
}
"""Extra -> what it brings, by import names."""
PROGRAMS = {"espeak-ng": "apt-get install espeak-ng"}
"""What some data sets call; a run works without."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        good: Whether nothing has to be done.
        what: What was looked at, and what was found.
        fix: What to do.
    """

    good: bool
    what: str
    fix: str = ""


def parser() -> argparse.ArgumentParser:
    """The parser of this verb."""
    return argparse.ArgumentParser("steelyard doctor", description=VERBS["doctor"].help, allow_abbrev=False)


def main(verb: str, words: Sequence[str]) -> int:
    """Prints all findings; 1 if something has to be done, else 0."""
    del verb
    parser().parse_args(list(words))
    findings = list(examine())
    for finding in findings:
        _console.write(
            f"{'ok ' if finding.good else 'BAD'}  {finding.what}" + (f"  ->  {finding.fix}" * bool(finding.fix))
        )
    return Exit.DONE if all(finding.good for finding in findings) else 1


def examine() -> Iterator[Finding]:
    """Everything that is looked at, cheap things first."""
    yield _python()
    yield from (_version(name) for name in LIBRARIES)
    yield _imports("pytorch_lightning", "pip install --force-reinstall pytorch-lightning")
    if util.find_spec("torchvision") is not None:
        yield _imports("torchvision", "pip uninstall torchvision")
    yield from _plugins()
    yield from (_extra(name, libraries) for name, libraries in EXTRAS.items())
    yield from (_program(name, fix) for name, fix in PROGRAMS.items())
    yield _threads()
    yield _devices()
    yield _writable(Path())
    yield _writable(Path(tempfile.gettempdir()))


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding(good, f"Python {platform.python_version()}", "" if good else "use Python 3.11 or newer")


def _version(name: str) -> Finding:
    try:
        return Finding(True, f"{name} {metadata.version(name)}")
    except metadata.PackageNotFoundError:
        return Finding(False, f"{name} is not installed", f"pip install {name}")


def _imports(module: str, fix: str) -> Finding:
    """In a process of its own: an extension that does not fit can end the interpreter."""
    code = f"import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return Finding(True, f"{module} imports")
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Finding(False, f"{module} does not import: {last}", fix)


def _plugins() -> Iterator[Finding]:
    entries = registry.entries()
    broken: list[Finding] = []
    for key in sorted({entry.key for entry in entries}):
        try:
            lacking = list(registry.missing(registry.load(key), key=key))
        except Refused as refused:
            lacking = list(refused.problems)
        broken += [Finding(False, " ".join(problem.message.split()), problem.fix) for problem in lacking]
    yield Finding(True, f"{len(entries)} plugins, {len(entries) - len(broken)} of them ready")
    yield from broken


def _extra(name: str, libraries: Sequence[str]) -> Finding:
    """What is optional is never bad: the line says how to get it."""
    lacking = [library for library in libraries if util.find_spec(library) is None]
    if not lacking:
        return Finding(True, f"extra {name} is there")
    return Finding(True, f"extra {name} lacks {', '.join(lacking)}", f"pip install 'steelyard[{name}]'")


def _program(name: str, fix: str) -> Finding:
    if shutil.which(name):
        return Finding(True, f"{name} is there")
    return Finding(True, f"{name} is not there, which only some data needs", fix)


def _threads() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS")
    if asked is not None and asked.isdigit() and int(asked) > cores:
        return Finding(False, f"OMP_NUM_THREADS={asked} on {cores} cores", f"export OMP_NUM_THREADS={cores}")
    return Finding(True, f"{cores} cores" + (f", OMP_NUM_THREADS={asked}" if asked else ""))


def _devices() -> Finding:
    code = (
        "import torch; n = torch.cuda.device_count();"
        "print(', '.join(torch.cuda.get_device_name(i) for i in range(n)) or "
        "('mps' if torch.backends.mps.is_available() else 'cpu only'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        return Finding(False, "torch finds no devices", "pip install --force-reinstall torch")
    return Finding(True, f"devices: {done.stdout.strip()}")


def _writable(folder: Path) -> Finding:
    place = folder.resolve()
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
    except OSError as error:
        return Finding(False, f"{place} cannot be written: {error.strerror}", f"chmod u+w {place}")
    return Finding(True, f"{place} can be written")
