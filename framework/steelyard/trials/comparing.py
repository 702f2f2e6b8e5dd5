"""What plugins say over several finished runs: their `compare`, called for every plugin that a run selected."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steelyard import registry, schema
from steelyard.measurement import Measurement, Picture, Sound, Table
from steelyard.plugin import Plugin
from steelyard.problem import Refused
from steelyard.stored import StoredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one plugin says of the runs together.

    Attributes:
        key: `<challenge>.<plugin>`.
        measurements: With full names.
        pictures: Pictures.
        sounds: Sounds.
        tables: Tables.
        error: Why it could not be asked, the traceback of a failure, or "".
    """

    key: str
    measurements: tuple[Measurement, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sounds: tuple[Sound, ...] = ()
    tables: tuple[Table, ...] = ()
    error: str = ""


def said(runs: Sequence[StoredRun]) -> tuple[Said, ...]:
    """Asks every plugin; those that have nothing to say are left out, those that fail say so."""
    settings = {
        section.key: section.settings for run in runs for section in run.scorecard.sections if "." in section.key
    }
    answers = [_ask(key, settings[key], runs) for key in sorted(settings)]
    return tuple(
        answer
        for answer in answers
        if answer.measurements or answer.pictures or answer.sounds or answer.tables or answer.error
    )


def _ask(key: str, settings: Mapping[str, Any], runs: Sequence[StoredRun]) -> Said:
    measurements: list[Measurement] = []
    pictures: list[Picture] = []
    sounds: list[Sound] = []
    tables: list[Table] = []
    error = ""
    try:
        declaration = registry.load(key)
        if declaration.compare is Plugin.compare:
            return Said(key=key)
        for item in schema.build(declaration, settings, path=key).compare(runs):
            if isinstance(item, Measurement):
                measurements.append(replace(item, name=f"{key}.{item.name}"))
            elif isinstance(item, Picture):
                pictures.append(item)
            elif isinstance(item, Sound):
                sounds.append(item)
            else:
                tables.append(item)
    except Refused as refused:  # it is not installed here, or its fields have changed since
        error = str(refused)
    except Exception:  # a plugin that fails here must not hide what the others found
        error = traceback.format_exc()
    return Said(
        key=key,
        measurements=tuple(measurements),
        pictures=tuple(pictures),
        sounds=tuple(sounds),
        tables=tuple(tables),
        error=error,
    )
