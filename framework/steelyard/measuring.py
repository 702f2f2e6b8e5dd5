"""Measuring: every attachment looks at the frozen run, and what it says is kept."""

import csv
import io
import json
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule

from steelyard import randomness, resident, short_memory
from steelyard._trees import settings
from steelyard._untyped import named_modules
from steelyard.attachment import Attachment
from steelyard.enforcement import fingerprint
from steelyard.folder import write_atomically
from steelyard.measurement import Artefact, Measurement, Picture, Sound, Status, Table
from steelyard.runs import Run, Seconds
from steelyard.scorecard import Section, StoredArtefact
from steelyard.selection import Selected
from steelyard.tasks import Measured

TASK = "task"


def task_section(run: Run, logged: Mapping[str, float]) -> Section:
    """What the task says of itself; for a stranger's task the metrics that it logged in `Trainer.test`."""
    said = run.task.measure(run) if isinstance(run.task, Measured) else _as_logged(logged)
    section = _section(TASK, run, lambda: said, Seconds())
    if section.status is Status.MEASURED and not section.measurements:
        return replace(section, status=Status.SKIPPED, error="the task has no test_step, or the data no test split")
    return section


def plugin_sections(selected: Sequence[Selected], attachments: Mapping[str, Attachment], run: Run) -> list[Section]:
    """One section per plugin, in the order of selection; a failure stays in its own section."""
    # Through JSON, so that the scorecard in memory equals the one that is read back.
    plain = {choice.key: json.loads(json.dumps(settings(choice.plugin), default=str)) for choice in selected}
    order = sorted(attachments, key=lambda key: attachments[key].measures_last)
    sections: dict[str, Section] = {}
    for key in order:
        seconds = run.seconds[key]
        grown, start = _growth(), time.perf_counter()
        section = _section(key, run, lambda key=key: attachments[key].measure(run), seconds)
        seconds.measure, seconds.memory = time.perf_counter() - start, grown()
        sections[key] = replace(
            section, settings=plain[key], hook_seconds=seconds.hooks, measure_seconds=seconds.measure
        )
    return [sections[choice.key] for choice in selected]


def _growth() -> Callable[[], float | None]:
    """By how many MiB the process has grown at most since now; None where the system does not say."""
    if not resident.settle():
        return lambda: None
    before = resident.held()
    return lambda: max(resident.peak() - before, 0) / 2**20


@contextmanager
def looking(task: LightningModule) -> Generator[None]:
    """Eval mode, gradients on, inference mode off, random streams forked; flags and `requires_grad` are put back."""
    flags = {name: module.training for name, module in named_modules(task).items()}
    trained = {name: weight.requires_grad for name, weight in task.named_parameters()}
    task.eval()
    try:
        with randomness.forked(), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for name, module in named_modules(task).items():
            module.training = flags.get(name, module.training)
        for name, weight in task.named_parameters():
            weight.requires_grad_(trained.get(name, weight.requires_grad))


@dataclass
class _Said:
    measurements: list[Measurement] = field(default_factory=list[Measurement])
    artefacts: list[StoredArtefact] = field(default_factory=list[StoredArtefact])


def _section(key: str, run: Run, measure: Any, seconds: Seconds) -> Section:
    said = _Said()
    before = fingerprint(run.task)
    try:
        with looking(run.task), _ended(measure()) as items:
            _collect(key, items, run.folder, said)
        if fingerprint(run.task) != before:
            raise RuntimeError("measuring changed the weights of the task, so nothing after it can be trusted")
    except Exception as error:
        del seconds
        short_memory.noted(error)
        return Section(
            key=key,
            status=Status.FAILED,
            measurements=tuple(said.measurements),
            artefacts=tuple(said.artefacts),
            error=traceback.format_exc(),
        )
    skipped = bool(said.measurements) and all(row.status is Status.SKIPPED for row in said.measurements)
    return Section(
        key=key,
        status=Status.SKIPPED if skipped else Status.MEASURED,
        measurements=tuple(said.measurements),
        artefacts=tuple(said.artefacts),
    )


@contextmanager
def _ended(items: Iterator[Measurement | Artefact]) -> Generator[Iterator[Measurement | Artefact]]:
    """Closes a generator that is left half-way, so that its own `finally` blocks still run under protection."""
    try:
        yield items
    finally:
        if isinstance(items, Generator):
            items.close()


def _collect(key: str, items: Iterable[Measurement | Artefact], folder: Path, said: _Said) -> None:
    seen: set[tuple[str, str]] = set()
    for item in items:
        if isinstance(item, Measurement):
            point = (item.name, repr(sorted(item.at.items())))
            if point in seen:
                raise ValueError(f"{key} gave {item.name} twice{f' at {dict(item.at)}' if item.at else ''}")
            seen.add(point)
            said.measurements.append(replace(item, name=f"{key}.{item.name}"))
        else:
            said.artefacts.append(_keep(key, item, folder))


def _keep(key: str, item: Artefact, folder: Path) -> StoredArtefact:
    place = folder.joinpath(*key.split("."))
    place.mkdir(parents=True, exist_ok=True)
    match item:
        case Picture():
            kind, ending, content, alt = "picture", "png", item.png, item.alt
        case Sound():
            kind, ending, content, alt = "sound", "wav", item.wav, item.alt
        case Table():
            kind, ending, content, alt = "table" if item.shown else "rows", "csv", _csv(item).encode(), ""
    path = place / f"{item.name}.{ending}"
    write_atomically(path, content)
    return StoredArtefact(
        kind=kind,
        title=item.title,
        path=path.relative_to(folder).as_posix(),
        alt=alt,
        split=item.split,
        panel=item.panel if isinstance(item, Picture) else None,
    )


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()


def _as_logged(logged: Mapping[str, float]) -> Iterator[Measurement]:
    for name, value in logged.items():
        yield Measurement(
            name=name.replace("/", "_").replace(".", "_").replace(" ", "_"),
            value=float(value),
            split="test",
            note="as the task logged it in Trainer.test",
        )
