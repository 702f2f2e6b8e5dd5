# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The only place that touches `sacrebleu`, and the ROUGE of torchmetrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from steelyard.extras import require

Sums = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A metric of a corpus, taken apart into what each example adds.

    Attributes:
        rows: (N, K).
        score: The metric of the corpus from the sum (K,) of its rows.
    """

    rows: Sums
    score: Callable[[Sums], float]


def bleu(written: Sequence[str], wanted: Sequence[str]) -> Counted:
    """BLEU from 0 to 100 (Papineni et al. 2002) as sacrebleu has it: 13a tokens, exponential smoothing (Post 2018)."""
    return _sacrebleu("BLEU", written, wanted)


def chrf(written: Sequence[str], wanted: Sequence[str]) -> Counted:
    """chrF2 from 0 to 100 (Popović 2015) as sacrebleu has it: F2 of letter n-grams up to 6."""
    return _sacrebleu("CHRF", written, wanted)


def rouge(kind: str, written: Sequence[str], wanted: Sequence[str]) -> Counted:
    """ROUGE from 0 to 1 (Lin 2004): the mean F1 of an example, without stemming.

    Args:
        kind: `rouge1`, `rouge2` or `rougeL`. Not `rougeLsum`, for which torchmetrics downloads a splitter of sentences.
        written: What the model wrote.
        wanted: What is right.
    """
    from torchmetrics.functional.text import rouge_score

    measured = [
        float(rouge_score(*pair, rouge_keys=kind)[f"{kind}_fmeasure"]) for pair in zip(written, wanted, strict=True)
    ]
    return Counted(rows=np.array([[value, 1.0] for value in measured]), score=_mean)


def _mean(sums: Sums) -> float:
    return float(sums[0] / sums[1])


def _sacrebleu(name: str, written: Sequence[str], wanted: Sequence[str]) -> Counted:
    require("sacrebleu", extra="text")
    from sacrebleu import metrics

    metric: Any = getattr(metrics, name)()
    # Its public face gives no counts by example, which a bootstrap needs (seen on 2.6.0; a test holds both together).
    rows = np.array(metric._extract_corpus_statistics([*written], [[*wanted]]), dtype=np.float64)
    return Counted(rows=rows, score=lambda sums: float(metric._compute_score_from_stats([*sums]).score))
