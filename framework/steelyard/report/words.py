"""Keys in words: `privacy.some_plugin.some_metric` becomes a challenge, a plugin and a metric."""

import re
from collections.abc import Iterable, Mapping

from steelyard.measurement import Better, Measurement
from steelyard.report.numbers import number

_ACRONYMS = (
    *("AUC", "BLEU", "CER", "CPU", "ECE", "F1", "FID", "FLOP", "FLOPs", "FPR", "GPU", "IoU", "KL", "L1", "L2", "MAE"),
    *("MFU", "MIA", "MRR", "MSE", "NDCG", "NLL", "PSNR", "RMSE", "ROC", "ROUGE", "SSIM", "TPR", "WER"),
    *("AP", "AUROC", "chrF", "COCO", "L", "mAP50"),
)
ACRONYMS = {acronym.lower(): acronym for acronym in _ACRONYMS}
"""How the field writes words that stand in names (ROUGE-L has an L); "map" is not here, since it is also a word."""
SPLITS = {"train": "training data", "val": "validation data", "test": "test data"}


def words(name: str) -> str:
    """A key as a phrase: underscores become spaces, acronyms and the first letter capitals."""
    text = " ".join(ACRONYMS.get(word, word) for word in name.replace("_", " ").split(" ")).strip()
    return text if text.partition(" ")[0] in ACRONYMS.values() else text[:1].upper() + text[1:]


def opened(text: str) -> str:
    """A note with the capital of a sentence, unless it begins with a name that has none: "band_limit", "p = 0.2"."""
    named = "_" in text.partition(" ")[0] or text[1:3] == " ="
    return text if named else text[:1].upper() + text[1:]


def inside(phrase: str) -> str:
    """A phrase as it stands inside a sentence: without the capital of its first word, unless that is an acronym."""
    first, space, rest = phrase.partition(" ")
    first = first if any(letter.isupper() for letter in first[1:]) or first in ACRONYMS.values() else first.lower()
    return f"{first}{space}{rest}"


def metric(name: str, key: str) -> str:
    """The part of a full measurement name that stands behind the key of its section."""
    return name.removeprefix(f"{key}.")


def direction(better: Better | None) -> str:
    """What is better, in words; "" where neither is."""
    return "" if better is None else f"{better.value} is better"


def arrow(better: Better | None) -> str:
    """The sign of what is better; always shown beside `direction`, which says it aloud."""
    return "" if better is None else "↑" if better is Better.HIGHER else "↓"


def point(at: Mapping[str, str | float]) -> str:
    """The point of a curve in words: "sigma 0.1, order random"."""
    return ", ".join(f"{key.replace('_', ' ')} {coordinate(value)}" for key, value in at.items())


def coordinate(value: str | float) -> str:
    """One coordinate of a point."""
    return value if isinstance(value, str) else number(float(value))


def population(measurement: Measurement) -> str:
    """What stands behind a number: "360 of the test data"; "" where nothing is known."""
    split = dataset(measurement.split)
    if measurement.count is None:
        return split
    return f"n = {measurement.count:,}" + (f", {split}" if split else "")


def listing(items: Iterable[str]) -> str:
    """Items joined as in a sentence: "a, b and c"."""
    *head, last = [*items] or [""]
    return f"{', '.join(head)} and {last}" if head else last


def counted(count: int, singular: str, plural: str = "") -> str:
    """A count with its noun: "1 trial", "2 trials"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def dataset(split: str | None) -> str:
    """The data that something looked at, in words; "" where it is not known."""
    return SPLITS.get(split or "", split or "")


class Anchors:
    """Makes ids that are unique on one page."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def __call__(self, name: str) -> str:
        """An id that resembles the name and was not given before."""
        stem = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-") or "part"
        anchor, count = stem, 1
        while anchor in self._used:
            count += 1
            anchor = f"{stem}-{count}"
        self._used.add(anchor)
        return anchor
