"""One job of a sweep: composed, or refused with the reason."""

from dataclasses import dataclass

from omegaconf import DictConfig

from steelyard.composing._catalogue import Raw
from steelyard.composing._compose import Composed, finished
from steelyard.composing._settle import settle
from steelyard.problem import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One job of a sweep: composed or refused.

    Attributes:
        number: Hydra's job number.
        overrides: The words of this trial, from the experiment's file and from the command line.
        config: As Hydra composed it, unchecked.
        composed: The checked config, or None.
        refused: Why there is none, or None.
    """

    number: int
    overrides: tuple[str, ...]
    config: DictConfig
    composed: Composed | None = None
    refused: Refused | None = None


def make_trial(raw: Raw, elsewhere: frozenset[str]) -> Trial:
    """The trial of one composition.

    Args:
        raw: What Hydra made.
        elsewhere: Keys of plugins that another trial of the same sweep selects.
    """
    try:
        config, notes = settle(raw, elsewhere=elsewhere)
    except Refused as refused:
        return Trial(number=raw.number, overrides=raw.overrides, config=raw.config, refused=refused)
    composed = finished(raw, config, notes, sweep=True)
    return Trial(number=raw.number, overrides=raw.overrides, config=raw.config, composed=composed)
