"""What stands above an explained example, and what is read aloud."""

from steelyard.adapters import Adapter
from steelyard_interpretability._trials import Trials

LETTERS = 50
"""Of an answer that stand in a caption."""


def title(adapter: Adapter, trials: Trials, row: int) -> str:
    """Short lines: pictures stand side by side; nothing where neither decision nor truth can be told in words."""
    said, wanted = _answers(adapter, trials, row)
    return "" if not said and not wanted else f"says {short(said)}\ntruth {short(wanted)}"


def in_words(adapter: Adapter, trials: Trials, row: int) -> str:
    """One sentence for those who do not see the picture."""
    said, wanted = _answers(adapter, trials, row)
    told = f": decision {said}, truth {wanted}" if said or wanted else ""
    return f"Example {trials.samples.numbers[row]}{told}."


def _answers(adapter: Adapter, trials: Trials, row: int) -> tuple[str, str]:
    scoring = adapter.scoring
    said = scoring.said(trials.asked.decisions[row].cpu())
    wanted = scoring.wanted(trials.samples.targets[row].cpu())
    return (adapter.told(said), adapter.told(wanted)) if said or wanted else ("", "")


def short(text: str) -> str:
    """At most `LETTERS` letters."""
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"
