"""The scorecard: everything that a run measured, judged against the requirements of the experiment."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from steelyard.measurement import Better, Measurement, Status
from steelyard.panel import Panel
from steelyard.processor import BUSY

SCHEMA_VERSION = 1
"""Raised whenever a reader of scorecard.json would have to change."""
STABILITY = "stability"
"""The challenge whose requirements make a verdict of its own."""


class Judgement(StrEnum):
    """What became of a requirement; only `met` meets it."""

    MET = "met"
    NOT_MET = "not met"
    INCONCLUSIVE = "inconclusive"
    """The interval straddles the limit."""
    MISSING = "missing"
    """Nobody measured it, or it was skipped or failed."""
    INVALID = "invalid"
    """A control says that what was measured cannot be trusted."""


class Stability(StrEnum):
    """What the requirements of the challenge `stability` come to."""

    STABLE = "stable"
    """All are met, by the unfavourable end of every interval."""
    UNSTABLE = "unstable"
    """One is surely not met."""
    INVALID = "invalid"
    """None is surely not met, and a control failed."""
    INCONCLUSIVE = "inconclusive"
    """The data cannot decide, or something was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtefact:
    """A picture, table or sound, written into the run folder.

    Attributes:
        kind: "picture" (PNG), "table" (CSV with a head line), "rows" (the same, for programs only) or "sound"
            (WAV).
        title: What it shows.
        path: Relative to the run folder, with forward slashes.
        alt: The picture or sound in words; "" for a table.
        split: The data that it shows.
        panel: How far a picture can be trusted, where somebody knows.
    """

    kind: str
    title: str
    path: str
    alt: str = ""
    split: str | None = None
    panel: Panel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one plugin (or the task itself, under the key "task") has to say.

    Attributes:
        key: `<challenge>.<plugin>`, or "task".
        status: `measured`; `failed` if its `measure` raised; `skipped` if it had nothing to measure.
        settings: The declaration's fields.
        measurements: With full names.
        artefacts: Pictures and tables.
        hook_seconds: Wall time spent in the attachment's training hooks.
        measure_seconds: Wall time spent in `measure`.
        error: The traceback of a failure.
    """

    key: str
    status: Status
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    measurements: tuple[Measurement, ...] = ()
    artefacts: tuple[StoredArtefact, ...] = ()
    hook_seconds: float = 0.0
    measure_seconds: float = 0.0
    error: str | None = None

    @property
    def challenge(self) -> str:
        """The first word of the key."""
        return self.key.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement, judged.

    Attributes:
        name: Full name of the measurement, e.g. "privacy.dp_sgd.epsilon".
        bound: "min" or "max".
        limit: The value to hold.
        held: The unfavourable end of the interval (the value itself where there is none) that was held against it.
        judgement: What came out.
        reason: Why, in words.
    """

    name: str
    bound: str
    limit: float
    judgement: Judgement
    held: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """All sections of one run and its verdict.

    Attributes:
        title: What was run, in a line: the choices of the config, e.g. "digits, mlp, privacy=dp_sgd".
        spec: The spec hash.
        seed: The seed of the run.
        sections: "task" first, then by challenge and plugin.
        requirements: Judged.
        choices: Config group -> chosen option(s), e.g. {"model": "mlp", "privacy": "dp_sgd,membership"}.
        overrides: The words of the command line that made it.
        seconds: Wall time of the whole run.
        waited: Those of them in which it was ready and others had the processors; None where nobody says.
        notes: Remarks of preflight.
        schema_version: Of this file.
    """

    title: str
    spec: str
    seed: int
    sections: tuple[Section, ...]
    requirements: tuple[Requirement, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict[str, str])
    overrides: tuple[str, ...] = ()
    seconds: float = 0.0
    waited: float | None = None
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def met(self) -> bool:
        """True if every requirement is met (also when there are none)."""
        return all(requirement.judgement is Judgement.MET for requirement in self.requirements)

    @property
    def stability(self) -> Stability | None:
        """The verdict on the output's stability; None where nothing of it is required."""
        found = {row.judgement for row in self.requirements if row.name.partition(".")[0] == STABILITY}
        if not found:
            return None
        if Judgement.NOT_MET in found:
            return Stability.UNSTABLE
        if Judgement.INVALID in found:
            return Stability.INVALID
        return Stability.STABLE if found == {Judgement.MET} else Stability.INCONCLUSIVE

    @property
    def waiting(self) -> float:
        """The share of its time, 0 to 1, in which it waited for a processor; 0 where that is too little to matter."""
        share = (self.waited or 0.0) / self.seconds if self.seconds else 0.0
        return share if share >= BUSY else 0.0

    @property
    def failed(self) -> tuple[str, ...]:
        """Keys of the sections that failed."""
        return tuple(section.key for section in self.sections if section.status is Status.FAILED)

    @property
    def exit_code(self) -> int:
        """0 done and met; 1 a requirement not met; 3 a section failed."""
        return 3 if self.failed else 0 if self.met else 1

    def measurements(self, name: str | None = None) -> Iterator[Measurement]:
        """All measurements, or those of one full name (several where it is a curve)."""
        for section in self.sections:
            for measurement in section.measurements:
                if name is None or measurement.name == name:
                    yield measurement

    def __getitem__(self, name: str) -> Measurement:
        """The only measurement of that full name.

        Raises:
            KeyError: If there is none, or more than one (a curve).
        """
        found = list(self.measurements(name))
        if len(found) != 1:
            raise KeyError(f"{len(found)} measurements are called {name}")
        return found[0]

    def to_json(self) -> dict[str, Any]:
        """Plain types for scorecard.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: If a newer Steelyard wrote the file.
        """
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"scorecard.json has schema version {version}, this Steelyard reads {SCHEMA_VERSION}")
        known = {field.name for field in fields(cls)}
        scorecard = cls(**{key: value for key, value in data.items() if key in known})
        return replace(
            scorecard,
            sections=tuple(_section(section) for section in data["sections"]),
            requirements=tuple(_requirement(row) for row in data["requirements"]),
            overrides=tuple(data["overrides"]),
            notes=tuple(data["notes"]),
        )


def _section(data: Mapping[str, Any]) -> Section:
    changed: dict[str, Any] = {
        "status": Status(data["status"]),
        "measurements": tuple(_measurement(row) for row in data["measurements"]),
        "artefacts": tuple(_artefact(row) for row in data["artefacts"]),
    }
    return Section(**{**data, **changed})


def _artefact(data: Mapping[str, Any]) -> StoredArtefact:
    panel = data.get("panel")
    changed: dict[str, Any] = {"panel": None if panel is None else Panel.from_json(panel)}
    return StoredArtefact(**{**data, **changed})


def _requirement(data: Mapping[str, Any]) -> Requirement:
    changed: dict[str, Any] = {"judgement": Judgement(data["judgement"])}
    return Requirement(**{**data, **changed})


def _measurement(data: Mapping[str, Any]) -> Measurement:
    changed: dict[str, Any] = {
        "status": Status(data["status"]),
        "better": None if data["better"] is None else Better(data["better"]),
        "interval": None if data["interval"] is None else (data["interval"][0], data["interval"][1]),
    }
    return Measurement(**{**data, **changed})
