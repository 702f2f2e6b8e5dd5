"""The user's own code behind a trial: which files it came from, and whether they have changed since."""

import hashlib
import sys
import sysconfig
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from steelyard import folder
from steelyard.narrowing import is_mapping

FILE = "code.json"


def note(place: Path) -> None:
    """Writes down the user's modules that this process has loaded, beside the trial; nothing where there are none."""
    files = {str(path): _digest(path, path.stat().st_mtime_ns) for path in _own_files() if path.is_file()}
    if files:
        folder.write_json(place / FILE, files)


def changed(place: Path) -> bool:
    """True if a file that the trial in `place` had loaded is another one now, or gone."""
    try:
        noted = folder.read_json(place / FILE)
    except FileNotFoundError:
        return False
    return is_mapping(noted) and any(not _same(Path(path), str(digest)) for path, digest in noted.items())


def _same(path: Path, digest: str) -> bool:
    return path.is_file() and _digest(path, path.stat().st_mtime_ns) == digest


def _own_files() -> list[Path]:
    """Sources that are neither Python's, nor installed, nor Steelyard's, all of which have versions."""
    sources = {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    return sorted(Path(one) for one in sources if one.endswith(".py") and not one.startswith(versioned()))


@lru_cache(maxsize=1)
def versioned() -> tuple[str, ...]:
    """Folders of code that has a version: Python's, installed packages, Steelyard."""
    paths = sysconfig.get_paths()
    kept = [Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    ours = [Path(place) for name in ("steelyard", "hydra_plugins") for place in import_module(name).__path__]
    return tuple({f"{path}/" for one in (*kept, *ours) for path in (one, one.resolve())})


@lru_cache(maxsize=4096)
def _digest(path: Path, changed_at: int) -> str:
    del changed_at  # a part of the key: a file that was written again is read again
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
