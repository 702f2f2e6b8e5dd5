"""The kinds of trackers: what each of Lightning's loggers can do beyond numbers."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# The libraries behind the loggers are optional, and some of them have no types.

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from typing_extensions import override

ROWS = 1000
"""Of a table that is shown as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a run is called.

    Attributes:
        name: Of the run folder; of a trial with its sweep before it.
        title: What was run, in a line.
        tags: Names and values to look for it by.
        parent: The tracker's own id of the sweep's run, or None outside a sweep.
    """

    name: str
    title: str
    tags: Mapping[str, str]
    parent: str | None = None


class Tracker(ABC):
    """One logger of a run, with words that Lightning's loggers do not share."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Under which the tracker finds the run again; "" where the run folder is all it needs."""

    @abstractmethod
    def label(self, labels: Labels) -> None:
        """Names the run."""

    @abstractmethod
    def config(self, tree: Mapping[str, Any]) -> None:
        """The config, secrets masked."""

    @abstractmethod
    def scores(self, values: Mapping[str, float], tree: Mapping[str, Any]) -> None:
        """The final numbers, and once more the config that they belong to."""

    @abstractmethod
    def keep(self, path: Path, *, below: str, title: str) -> None:
        """A file of the run: a picture, a table, the report.

        Args:
            path: Where it lies.
            below: Whose it is, as a path: "stability/noise"; "" for the whole run's.
            title: What it shows.
        """

    @abstractmethod
    def end(self) -> None:
        """Nothing more comes of this run."""


class Plain(Tracker):
    """Any logger: config and numbers. Pictures and tables lie in the run folder."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    @property
    @override
    def id(self) -> str:
        return ""

    @override
    def label(self, labels: Labels) -> None:
        del labels

    @override
    def config(self, tree: Mapping[str, Any]) -> None:
        self._logger.log_hyperparams(dict(tree))

    @override
    def scores(self, values: Mapping[str, float], tree: Mapping[str, Any]) -> None:
        del tree
        self._logger.log_metrics(dict(values))

    @override
    def keep(self, path: Path, *, below: str, title: str) -> None:
        del path, below, title

    @override
    def end(self) -> None:
        self._logger.save()
        self._logger.finalize("success")


class TensorBoard(Tracker):
    """Numbers, pictures, tables as text; the config beside the scores in the page of hyper-parameters."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self._logger = logger

    @property
    @override
    def id(self) -> str:
        return ""

    @override
    def label(self, labels: Labels) -> None:
        words = [labels.title, *(f"{name}: {value}" for name, value in labels.tags.items())]
        self._logger.experiment.add_text("run", "  \n".join(words))

    @override
    def config(self, tree: Mapping[str, Any]) -> None:
        self._logger.log_hyperparams(dict(tree))

    @override
    def scores(self, values: Mapping[str, float], tree: Mapping[str, Any]) -> None:
        self._logger.log_hyperparams(dict(tree), dict(values))

    @override
    def keep(self, path: Path, *, below: str, title: str) -> None:
        tag = f"{below}/{path.stem}".lstrip("/")
        if path.suffix == ".png":
            from matplotlib.image import imread

            picture: Any = imread(path)
            self._logger.experiment.add_image(tag, picture[..., :3], dataformats="HWC")
        elif path.suffix == ".csv":
            self._logger.experiment.add_text(tag, f"{title}\n\n{_markdown(path)}")

    @override
    def end(self) -> None:
        self._logger.save()
        self._logger.finalize("success")


class MLflow(Tracker):
    """Everything; a trial stands below the run of its sweep."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self._logger = logger

    @property
    @override
    def id(self) -> str:
        return str(self._logger.run_id)

    @override
    def label(self, labels: Labels) -> None:
        told = {"mlflow.note.content": labels.title, **labels.tags}
        if labels.parent is not None:
            told["mlflow.parentRunId"] = labels.parent
        for name, value in told.items():
            self._logger.experiment.set_tag(self.id, name, value)
        self._logger.experiment.update_run(self.id, name=labels.name)

    @override
    def config(self, tree: Mapping[str, Any]) -> None:
        self._logger.log_hyperparams(dict(tree))

    @override
    def scores(self, values: Mapping[str, float], tree: Mapping[str, Any]) -> None:
        del tree
        self._logger.log_metrics(dict(values))

    @override
    def keep(self, path: Path, *, below: str, title: str) -> None:
        del title
        self._logger.experiment.log_artifact(self.id, str(path), below or None)

    @override
    def end(self) -> None:
        self._logger.finalize("success")


class Wandb(Tracker):
    """Everything; a sweep is a group, with a run of its own for the sweep's table and page."""

    def __init__(self, logger: WandbLogger) -> None:
        self._logger = logger
        self._kept: dict[str, Path] = {}

    @property
    @override
    def id(self) -> str:
        return str(self._logger.experiment.id)

    @override
    def label(self, labels: Labels) -> None:
        run = self._logger.experiment
        run.name, run.notes = labels.name, labels.title
        run.config.update(dict(labels.tags), allow_val_change=True)

    @override
    def config(self, tree: Mapping[str, Any]) -> None:
        self._logger.log_hyperparams(dict(tree))

    @override
    def scores(self, values: Mapping[str, float], tree: Mapping[str, Any]) -> None:
        del tree
        self._logger.experiment.summary.update(dict(values))

    @override
    def keep(self, path: Path, *, below: str, title: str) -> None:
        self._kept[f"{below}/{path.name}".lstrip("/")] = path
        if path.suffix == ".png":
            import wandb  # pyright: ignore[reportMissingImports]

            self._logger.experiment.log({f"{below}/{path.stem}".lstrip("/"): wandb.Image(str(path), caption=title)})

    @override
    def end(self) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        run = self._logger.experiment
        if self._kept:
            files = wandb.Artifact(f"run-{run.id}-files", type="steelyard")
            for name, path in self._kept.items():
                files.add_file(str(path), name=name)
            run.log_artifact(files)
        run.finish()


def tracker(logger: Logger) -> Tracker:
    """The tracker behind a logger."""
    match logger:
        case MLFlowLogger():
            return MLflow(logger)
        case WandbLogger():
            return Wandb(logger)
        case TensorBoardLogger():
            return TensorBoard(logger)
        case _:
            return Plain(logger)


def _markdown(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [[cell.replace("|", "\\|") for cell in row] for row in csv.reader(file)]
    head, body = rows[0], rows[1:]
    shown = [head, ["---"] * len(head), *body[:ROWS]]
    rest = [] if len(body) <= ROWS else [f"({len(body) - ROWS} more rows)"]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in shown), *rest])
