"""A sweep and its trackers: one run above those of its trials."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from steelyard import folder
from steelyard.building import instantiated
from steelyard.sweeping.pool import side_by_side
from steelyard.tracking.nodes import FILE, filled, ids, kind, nodes

if TYPE_CHECKING:
    from steelyard.tracking._kinds import Tracker

TRACKED = ("MLFlowLogger", "WandbLogger", "TensorBoardLogger")
"""Loggers that can show a sweep; for all others its table lies in its folder."""
RESULTS = ("sweep.csv", "sweep.html")


def begin_sweep(config: DictConfig, place: Path, *, words: str) -> None:
    """Opens the sweep's own run, before its trials start; a resumed sweep has it already.

    Args:
        config: Of any trial.
        place: The sweep folder.
        words: What was typed.

    Raises:
        RuntimeError: If a tracker cannot be reached: no trial would reach it either.
    """
    missing = [node for node in nodes(config) if kind(node) in TRACKED and kind(node) not in ids(place)]
    if missing:
        found = _apart(lambda: _open(config, place, words))
        folder.write_json(place / FILE, {**ids(place), **found})


def end_sweep(config: DictConfig, place: Path) -> None:
    """Hands over the sweep's table and page.

    Raises:
        RuntimeError: If a tracker cannot be reached.
    """
    if ids(place):
        _apart(lambda: _close(config, place))


def _apart(work: Callable[[], dict[str, str]]) -> dict[str, str]:
    """In a process of its own: connections and threads must not be there when the trials are forked."""
    # Both sides of the fork need it, so it is imported once.
    from steelyard.tracking import _kinds

    del _kinds
    return side_by_side({0: work}, workers=1, threads=1)[0]


def _open(config: DictConfig, place: Path, words: str) -> dict[str, str]:
    from steelyard.tracking._kinds import Labels

    found: dict[str, str] = {}
    for name, one in _trackers(config, place):
        one.label(Labels(name=place.name, title=f"steelyard {words}", tags={"steelyard.sweep": place.name}))
        found[name] = one.id
        one.end()
    return found


def _close(config: DictConfig, place: Path) -> dict[str, str]:
    for _, one in _trackers(config, place):
        for result in RESULTS:
            one.keep(place / result, below="", title=result)
        one.end()
    return {}


def _trackers(config: DictConfig, place: Path) -> "list[tuple[str, Tracker]]":
    from steelyard.tracking._kinds import tracker

    made = [node for node in nodes(config) if kind(node) in TRACKED]
    return [
        (kind(node), tracker(instantiated(filled(node, place, group=place.name), "logger", str(node["_target_"]))))
        for node in made
    ]
