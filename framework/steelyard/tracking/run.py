"""A run and its trackers: made before training, told the config at once and the scores at the end."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from steelyard import folder, spec
from steelyard.building import instantiated
from steelyard.extras import require
from steelyard.problem import Problem, Refused
from steelyard.scorecard import Scorecard
from steelyard.tracking.nodes import FILE, IDS, LIBRARIES, filled, ids, kind, nodes
from steelyard.tracking.scores import scores

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from steelyard.tracking._kinds import Labels

SWEEP = "sweep.json"
WHOLE = ("config.yaml", "scorecard.json", "report.html")
"""Files of the whole run."""


def check(config: DictConfig) -> Iterator[Problem]:
    """Libraries that the loggers of a config need and that are missing."""
    for node in nodes(config):
        library = LIBRARIES.get(kind(node))
        if library is not None:
            try:
                require(library, extra=library)
            except Refused as refused:
                yield from refused.problems


def loggers(config: DictConfig, place: Path) -> "list[Logger]":
    """Lightning's loggers as the config names them; none where it names none.

    Args:
        config: Of the run.
        place: The run folder, which stands in for `???`.

    Raises:
        Refused: If one cannot be made.
    """
    group = place.parent.name if _sweep(place) else None
    return [instantiated(filled(node, place, group=group), "logger", str(node["_target_"])) for node in nodes(config)]


def begin(made: "Sequence[Logger]", config: DictConfig, place: Path, *, title: str, spec_hash: str) -> None:
    """Tells every logger what the run is, and keeps the ids under which it goes on after an interrupt."""
    if not made:
        return
    from steelyard.tracking._kinds import tracker

    tree = spec.masked(spec.plain(config))
    parents = ids(place.parent) if _sweep(place) else {}
    known = ids(place)
    for logger in made:
        name = type(logger).__name__
        one = tracker(logger)
        one.label(_labels(place, title=title, spec_hash=spec_hash, parent=parents.get(name)))
        one.config(tree)
        if name in IDS:
            known[name] = one.id
    if known:
        folder.write_json(place / FILE, known)


def deliver(made: "Sequence[Logger]", config: DictConfig, place: Path, card: Scorecard) -> None:
    """Tells every logger the scores, and hands it the pictures, tables and the report.

    The run folder is complete by now, so a tracker that is gone costs a warning and not the run.
    """
    if not made:
        return
    from steelyard.tracking._kinds import tracker

    tree, values = spec.masked(spec.plain(config)), scores(card)
    for logger in made:
        try:
            one = tracker(logger)
            one.scores(values, tree)
            for section in card.sections:
                for artefact in section.artefacts:
                    one.keep(place / artefact.path, below=section.key.replace(".", "/"), title=artefact.title)
            for name in WHOLE:
                if (place / name).exists():
                    one.keep(place / name, below="", title=name)
            one.end()
        except Exception as error:
            message = f"{type(logger).__name__} did not get the scores: {type(error).__name__}: {error}"
            warnings.warn(message, stacklevel=2)


def _labels(place: Path, *, title: str, spec_hash: str, parent: str | None) -> "Labels":
    from steelyard.tracking._kinds import Labels

    name = f"{place.parent.name}/{place.name}" if _sweep(place) else place.name
    tags: dict[str, Any] = {"steelyard.spec": spec_hash, "steelyard.folder": place.name}
    return Labels(name=name, title=title, tags=tags, parent=parent)


def _sweep(place: Path) -> bool:
    return (place.parent / SWEEP).exists()
