"""Stand-in until the sweep report exists."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One trial."""

    number: int
    overrides: tuple[str, ...]
    folder: Path | None
    exit_code: int
    message: str = ""
