"""What stands above an explained example, and what is read aloud."""

from steelyard.adapters import Adapter, ClassScoring, CTCScoring, LabelsScoring, TokenScoring
from steelyard_interpretability._trials import Trials

LETTERS = 50
"""Of an answer that stand in a caption."""
OWN_UNITS = frozenset(
    {
        "saliency",
        "guided_backprop",
        "deconvolution",
        "grad_cam",
        "guided_grad_cam",
        "layer_activation",
        "internal_influence",
    }
)
"""Methods whose values are no parts of the score."""


def spoken(name: str) -> str:
    """The name of a method in words."""
    return name.replace("_", " ")


def unit(adapter: Adapter, method: str) -> str:
    """What the values of a method's map stand for."""
    if method in OWN_UNITS:
        return "values in units of the method's own"
    logits = isinstance(adapter.scoring, ClassScoring | LabelsScoring | TokenScoring | CTCScoring)
    return f"values in units of the score{', a logit' if logits else ''}"


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
