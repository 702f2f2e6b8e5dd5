"""What a public report leaves out: everything that looked at the training data, which epsilon does not cover."""

from dataclasses import dataclass, replace

from steelyard.scorecard import Scorecard, Section

HIDDEN = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How much a public report leaves out.

    Attributes:
        measurements: Numbers that looked at training data.
        artefacts: Pictures and tables of training data.
        requirements: Verdicts on such numbers, and on numbers that nobody measured.
        errors: Tracebacks, which may quote data.
    """

    measurements: int = 0
    artefacts: int = 0
    requirements: int = 0
    errors: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.measurements + self.artefacts + self.requirements + self.errors


def public(scorecard: Scorecard) -> tuple[Scorecard, LeftOut]:
    """The scorecard without what looked at training data, and the count of what is gone."""
    hidden = {item.name for item in scorecard.measurements() if item.split == HIDDEN}
    sections = tuple(_public(section) for section in scorecard.sections)
    requirements = tuple(row for row in scorecard.requirements if row.name not in hidden)
    pairs = list(zip(scorecard.sections, sections, strict=True))
    left_out = LeftOut(
        measurements=sum(len(old.measurements) - len(new.measurements) for old, new in pairs),
        artefacts=sum(len(old.artefacts) - len(new.artefacts) for old, new in pairs),
        requirements=len(scorecard.requirements) - len(requirements),
        errors=sum(old.error is not None for old, _ in pairs),
    )
    return replace(scorecard, sections=sections, requirements=requirements), left_out


def _public(section: Section) -> Section:
    return replace(
        section,
        measurements=tuple(item for item in section.measurements if item.split != HIDDEN),
        artefacts=tuple(item for item in section.artefacts if item.split != HIDDEN),
        error=None,
    )
