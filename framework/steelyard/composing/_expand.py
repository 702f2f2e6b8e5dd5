"""Sweeps: the trials that Hydra's sweeper makes of the words, each checked before the first one runs."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from steelyard.composing._catalogue import Raw, look
from steelyard.composing._hydra_main import through_hydra
from steelyard.composing._search import Search, search
from steelyard.composing._trial import Trial, make_trial
from steelyard.composing._words import read, without_effect
from steelyard.problem import Refused, refuse
from steelyard.sweeping.settings import ELSEWHERE, Searching
from steelyard.sweeping.space import Space

LAUNCHERS = ("steelyard", "basic", *ELSEWHERE)
"""Each trial in a process of its own here, one after the other in this one, or elsewhere."""
SWEEPERS = ("basic", "random", "optuna")
"""Hydra's grid, random search, and a search that looks at the results."""


class Collector:
    """A job that only writes down its config.

    Attributes:
        seen: What Hydra made of each job.
        search: What takes the place of jobs where each depends on the results of those before it.
    """

    def __init__(self) -> None:
        self.seen: list[Raw] = []
        self.search: Search | None = None

    def __call__(self, config: DictConfig) -> None:
        """What Hydra's own launcher calls."""
        own: Any = HydraConfig.get()
        self._note(config, own.copy())

    def take(self, whole: DictConfig) -> None:
        """What our launcher calls, with the config of a job still in one piece."""
        own = whole.hydra
        OmegaConf.set_struct(whole, False)
        del whole["hydra"]
        self._note(whole, own)

    def ask_later(
        self, *, settings: Searching, space: Space, composed: Callable[[int, Sequence[str]], DictConfig]
    ) -> None:
        """What our searching sweeper calls in place of a launcher."""
        self.search = search(settings=settings, space=space, composed=composed, check=_check)

    def _note(self, config: DictConfig, own: DictConfig) -> None:
        _check(own)
        self.seen.append(look(config, own, number=int(own.job.num)))


def expand(*words: str, place: Path, folders: Sequence[Path] = ()) -> tuple[Trial, ...]:
    """All trials of a sweep, in Hydra's order; as `look_through`.

    Raises:
        Refused: If a search is asked for, whose trials nobody knows before it is over.
    """
    found = look_through(*words, place=place, folders=folders)
    if isinstance(found, Search):
        message = "hydra/sweeper=optuna chooses each trial by the results of those before it, so nobody knows them yet"
        raise refuse(message, fix="hydra/sweeper=random")
    return found


def look_through(*words: str, place: Path, folders: Sequence[Path] = ()) -> tuple[Trial, ...] | Search:
    """All trials of a sweep, in Hydra's order; or the search that finds them one by one.

    Hydra's sweeper and launcher run here with a job that only writes down its config: so a plugin that another trial
    selects is known, and what is wrong is said before hours of training.

    Args:
        *words: Hydra's overrides.
        place: The sweep folder, for `hydra.sweep.dir`.
        folders: With YAML of the user's own.

    Raises:
        Refused: If the words do not compose, or if every trial is refused.
    """
    ignored = list(without_effect(read(words)))
    if ignored:
        raise Refused(ignored)
    collector = Collector()
    quoted = str(place).replace("'", r"\'")
    through_hydra(["--multirun", *words, f"hydra.sweep.dir='{quoted}'"], folders=folders, task=collector)
    if collector.search is not None:
        return collector.search
    elsewhere = frozenset(key for raw in collector.seen for key in raw.fillers)
    trials = tuple(make_trial(raw, elsewhere) for raw in collector.seen)
    if trials and all(trial.refused for trial in trials):
        problems = [problem for trial in trials if trial.refused for problem in trial.refused.problems]
        raise Refused(list(dict.fromkeys(problems)))
    return trials


def _check(hydra: DictConfig) -> None:
    for group, known in (("hydra/launcher", LAUNCHERS), ("hydra/sweeper", SWEEPERS)):
        option = hydra.runtime.choices.get(group)
        if option not in known:
            raise refuse(f"{group}={option} is not supported yet", fix=f"{group}={known[0]}")
    launcher = hydra.runtime.choices.get("hydra/launcher")
    library = ELSEWHERE.get(launcher)
    if library and importlib.util.find_spec(library) is None:
        raise refuse(f"hydra/launcher={launcher} needs {library}", fix=f"pip install 'steelyard[{library}]'")
