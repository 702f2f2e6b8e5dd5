"""Problems: what stands in the way of a run, and the override that clears it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steelyard.seam import Seam


@dataclass(frozen=True, slots=True)
class Problem:
    """One obstacle, found before anything was changed.

    Attributes:
        message: What is wrong and where, e.g. "layer1.1 is BatchNorm2d: it mixes the examples of a batch".
        fix: An override to paste, e.g. "model.norm=group". Empty only where no override helps.
        level: An `error` refuses the run; a `note` is shown and the run goes on.
        party: Who found it, e.g. "privacy.dp_sgd"; the core fills it in.
        seam: What it lies in, where another plugin that claims this seam may clear it: the problem is then a note, and
            who found it must look again once it is attached itself.
    """

    message: str
    fix: str = ""
    level: Literal["error", "note"] = "error"
    party: str = ""
    seam: Seam | None = None


class Refused(ValueError):
    """The run is refused before training: exit code 2.

    Args:
        problems: Everything that was found, not only the first.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(_line(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["Refused"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def refuse(message: str, *, fix: str = "", party: str = "") -> Refused:
    """Makes a refusal of one problem, to be raised."""
    return Refused([Problem(message, fix, party=party)])


def check_least(option: str, value: float, least: float, *, fix: float | None = None) -> None:
    """Refuses a number that is too small.

    Args:
        option: As an override names it, e.g. "model.width".
        value: What is given.
        least: The smallest that will do.
        fix: What to paste instead; `least` itself where that is a good choice.

    Raises:
        Refused: If `value` is below `least`, or no number.
    """
    if not value >= least:
        raise refuse(
            f"{option} is {value:g}, must be at least {least:g}", fix=f"{option}={least if fix is None else fix:g}"
        )


def _line(problem: Problem) -> str:
    party = f"{problem.party}: " if problem.party else ""
    fix = f"\n    fix: {problem.fix}" if problem.fix else ""
    return f"{party}{problem.message}{fix}"
