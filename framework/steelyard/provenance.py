"""Where a run comes from: versions, git state, seeds, data, device, command."""

import getpass
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from typing import Any

import torch

CORE = (
    "steelyard",
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "numpy",
    "scipy",
    "scikit-learn",
)


def versions(imports: Iterable[str] = ()) -> dict[str, str]:
    """Distribution -> version, of the core and of the given import names."""
    names: set[str] = {*CORE}
    by_import = _distributions()
    for name in imports:
        names.update(by_import.get(name.partition(".")[0], ()))
    found: dict[str, str] = {}
    for name in sorted(names):
        installed = _version(name)
        if installed is not None:
            found[name] = installed
    return found


def git_state() -> dict[str, Any] | None:
    """Commit, branch and dirtiness of the working folder, or None outside a checkout (or without git)."""
    words = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - fixed words, git from PATH
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    head = dict(line.split(" ", 2)[1:3] for line in lines if line.startswith("# "))
    commit, branch = head["branch.oid"], head["branch.head"]
    if commit == "(initial)":
        return None
    return {
        "commit": commit,
        "branch": "HEAD" if branch == "(detached)" else branch,
        "dirty": any(not line.startswith("# ") for line in lines),
    }


def collect(
    *,
    spec: str,
    seed: int,
    fingerprint: str | None,
    choices: Mapping[str, str],
    overrides: Iterable[str],
    imports: Iterable[str],
    device: torch.device,
) -> dict[str, Any]:
    """Everything for provenance.json, in plain types."""
    return {
        "spec": spec,
        "seed": seed,
        "choices": dict(choices),
        "overrides": list(overrides),
        "command": " ".join(["steelyard", "run", *overrides]),
        "data_fingerprint": fingerprint,
        "device": _device(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "user": _user(),
        "versions": versions(imports),
        "git": git_state(),
        # Lightning adds callbacks of any installed package without a word.
        "callback_factories": list(_callback_factories()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@lru_cache(maxsize=256)
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def _callback_factories() -> tuple[str, ...]:
    return tuple(f"{entry.name}={entry.value}" for entry in entry_points(group="lightning.pytorch.callbacks_factory"))


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
