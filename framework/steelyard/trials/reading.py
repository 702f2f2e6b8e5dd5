"""The runs of a sweep, read from their folders: what was chosen, what became of it, and what sets them apart."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from steelyard import folder as run_folder
from steelyard.measurement import Measurement, by_name
from steelyard.scorecard import Scorecard
from steelyard.stored import StoredRun

SEED = "seed"
SCORECARD = "scorecard.json"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep, also a failed one.

    Attributes:
        folder: Its run folder.
        name: The folder's place below the sweep.
        state: "done", "failed", "refused", ...; "unreadable" if its files are broken.
        reason: Why, where it is not done.
        exit_code: 0 to 3, 130, 143, or None where nobody knows.
        seed: The seed, or None where it is not known.
        choices: Config group -> chosen option(s).
        leaves: Dotted key of the config -> value, without the seed.
        scorecard: What was weighed, or None.
    """

    folder: Path
    name: str
    state: str
    reason: str = ""
    exit_code: int | None = None
    seed: int | None = None
    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    leaves: Mapping[str, str] = field(default_factory=dict[str, str])
    scorecard: Scorecard | None = None

    @cached_property
    def measurements(self) -> Mapping[str, Sequence[Measurement]]:
        """Measurements by full name; empty where nothing was weighed."""
        return by_name(self.scorecard.measurements() if self.scorecard else ())


def run_folders(place: Path) -> Iterator[Path]:
    """The run folders at or below `place`, trial 2 before trial 10; nothing inside a run folder is looked at."""
    if (place / run_folder.STATUS).exists() or (place / SCORECARD).exists():
        yield place
        return
    # A link may lead to a run that is here already, or in a circle.
    inner = (entry for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False))
    children = [Path(entry.path) for entry in inner if not entry.name.startswith(".")]
    for child in sorted(children, key=_natural):
        yield from run_folders(child)


def read_trial(place: Path, *, name: str) -> Trial:
    """Reads one run folder; whatever is broken in it becomes the trial's reason."""
    try:
        return _read(place, name)
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        return Trial(folder=place, name=name, state="unreadable", reason=reason, exit_code=3)


def differing(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The keys that set trials apart, the seed aside: groups first, then leaves that say what no group says yet."""
    groups = _differing(trial.choices for trial in trials)
    chosen = [tuple(trial.choices.get(key, "") for key in groups) for trial in trials]
    keys = list(groups)
    for leaf in _differing(trial.leaves for trial in trials):
        known: dict[tuple[str, ...], str] = {}
        values = [trial.leaves.get(leaf) for trial in trials]
        news = [
            value is not None and known.setdefault(told, value) != value
            for told, value in zip(chosen, values, strict=True)
        ]
        if any(news):
            keys.append(leaf)
            chosen = [(*told, value or "") for told, value in zip(chosen, values, strict=True)]
    return tuple(keys)


def setting(trial: Trial, key: str) -> str:
    """What a trial chose for a key of `differing`; "" where it has no such key."""
    return trial.choices.get(key, trial.leaves.get(key, ""))


def _read(place: Path, name: str) -> Trial:
    run = StoredRun(place)
    status = run_folder.status(place) if (place / run_folder.STATUS).exists() else None
    scorecard = run.scorecard if (place / SCORECARD).exists() else None
    config = run.config if (place / "config.yaml").exists() else {}
    provenance = run.provenance if (place / "provenance.json").exists() else {}
    leaves = dict(_leaves(config))
    seed = scorecard.seed if scorecard else leaves.get(SEED)
    return Trial(
        folder=place,
        name=name,
        state=status.state.value if status else "done",
        reason=status.message if status and (scorecard is None or status.exit_code not in (0, 1)) else "",
        exit_code=status.exit_code if status else scorecard.exit_code if scorecard else None,
        seed=int(seed) if seed is not None and str(seed).lstrip("-").isdigit() else None,
        choices=scorecard.choices if scorecard else provenance.get("choices", {}),
        leaves={key: value for key, value in leaves.items() if key != SEED},
        scorecard=scorecard,
    )


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in cast("Mapping[Any, Any]", node).items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list):
        yield prefix, ",".join(_word(item) for item in cast("list[Any]", node))
    else:
        yield prefix, _word(node)


def _word(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _differing(mappings: Iterable[Mapping[str, str]]) -> list[str]:
    """Keys with more than one value among the mappings that have them."""
    known = [mapping for mapping in mappings if mapping]
    keys = dict.fromkeys(key for mapping in known for key in mapping)
    return [key for key in keys if len({mapping[key] for mapping in known if key in mapping}) > 1]


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]
