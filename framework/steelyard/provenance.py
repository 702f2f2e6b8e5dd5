"""Where a run comes from: versions, git state, seeds, data, device, command."""

import getpass
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
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
    by_import = packages_distributions()
    for name in imports:
        names.update(by_import.get(name.partition(".")[0], ()))
    found: dict[str, str] = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit, branch and dirtiness of the working folder, or None outside a checkout (or without git)."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10)  # noqa: S603, S607 - fixed words, git from PATH
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


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
        "callback_factories": [
            f"{entry.name}={entry.value}" for entry in entry_points(group="lightning.pytorch.callbacks_factory")
        ],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
