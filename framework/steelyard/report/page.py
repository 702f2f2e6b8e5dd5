"""The report of one run: one self-contained file, made from the run folder alone."""

import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steelyard import folder as run_folder
from steelyard.folder import RunStatus
from steelyard.report import redact
from steelyard.report.environment import fill
from steelyard.report.motif import steelyard
from steelyard.report.numbers import duration
from steelyard.report.redact import LeftOut
from steelyard.report.sections import challenges, flat
from steelyard.report.verdict import sentence, verdict
from steelyard.report.words import Anchors, counted
from steelyard.scorecard import Scorecard
from steelyard.stored import StoredRun

REPORT, PUBLIC_REPORT = "report.html", "report_public.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the folder holds; every part may be missing."""

    scorecard: Scorecard | None
    status: RunStatus | None
    config: str
    provenance: dict[str, Any]
    traceback: str


def render(folder: Path, *, public: bool = False) -> Path:
    """Writes the report of a run and returns where.

    Args:
        folder: The run folder. Torch is not needed, nor is the code that ran.
        public: Leave out what looked at training data, and tracebacks; written beside the full report.

    Raises:
        FileNotFoundError: If `folder` is no run folder.
        OSError: If the report cannot be written.
    """
    path = folder / (PUBLIC_REPORT if public else REPORT)
    run_folder.write_atomically(path, _page(folder, hide=public))
    return path


def _page(folder: Path, *, hide: bool) -> bytes:
    stored = _read(folder)
    card, left_out = (stored.scorecard, LeftOut())
    if card is not None and hide:
        card, left_out = redact.public(card)
    anchors = Anchors()
    for fixed in ("verdict", "traceback", "requirements", "notes", "config", "provenance", "reproduce"):
        anchors(fixed)
    says = verdict(card, stored.status)
    return fill(
        "report.html",
        title=card.title if card else folder.resolve().name,
        card=card,
        verdict=says,
        motif=steelyard(says.tone),
        facts=_facts(folder, stored),
        message="" if hide or card or stored.status is None else stored.status.message,
        traceback="" if hide else stored.traceback,
        requirements=[(row, sentence(row)) for row in card.requirements] if card else [],
        challenges=challenges(card.sections, folder, anchors) if card else [],
        config=stored.config,
        provenance=flat(stored.provenance) if stored.provenance else [],
        commands=_commands(folder, stored),
        public=hide,
        left_out=left_out,
    )


def _read(folder: Path) -> _Stored:
    run = StoredRun(folder)
    status = run_folder.status(folder) if (folder / run_folder.STATUS).exists() else None
    scorecard = run.scorecard if (folder / "scorecard.json").exists() else None
    if status is None and scorecard is None:
        raise FileNotFoundError(f"{folder} is no run folder: it has neither {run_folder.STATUS} nor scorecard.json")
    config, provenance, error = (folder / name for name in ("config.yaml", "provenance.json", "traceback.txt"))
    return _Stored(
        scorecard=scorecard,
        status=status,
        config=config.read_text(encoding="utf-8") if config.exists() else "",
        provenance=json.loads(provenance.read_text(encoding="utf-8")) if provenance.exists() else {},
        # A run that was resumed and weighed has outlived its traceback.
        traceback=error.read_text(encoding="utf-8") if error.exists() and scorecard is None else "",
    )


def _facts(folder: Path, stored: _Stored) -> list[tuple[str, str]]:
    """The lines under the title: which run this is."""
    card, status = stored.scorecard, stored.status
    facts = [("Run", folder.resolve().name)]
    if card is not None:
        facts += [("Spec", card.spec), ("Seed", str(card.seed)), ("Took", duration(card.seconds))]
    if status is not None and status.started:
        # UTC, so that the page's bytes do not depend on where it is made.
        started = datetime.fromtimestamp(status.started, tz=UTC)
        facts.append(("Started", f"{started:%Y-%m-%d %H:%M} UTC"))
    if status is not None and status.resumed:
        facts.append(("Resumed", counted(status.resumed, "time")))
    device = stored.provenance.get("device")
    return facts + ([("Device", str(device))] if isinstance(device, str) else [])


def _commands(folder: Path, stored: _Stored) -> list[tuple[str, str]]:
    """How to reproduce: (what for, command)."""
    overrides = stored.scorecard.overrides if stored.scorecard else tuple(stored.provenance.get("overrides", ()))
    name = shlex.quote(folder.resolve().name)
    checkpoint = stored.provenance.get("checkpoint")
    verb = f"steelyard weigh ckpt={shlex.quote(str(checkpoint))}" if checkpoint else "steelyard run"
    commands = [("Run it again", " ".join([verb, *(shlex.quote(word) for word in overrides)]))]
    if stored.scorecard is None:
        commands.append(("Go on where it stopped", f"steelyard resume {name}"))
    return [*commands, ("Make this page again", f"steelyard report {name}")]
