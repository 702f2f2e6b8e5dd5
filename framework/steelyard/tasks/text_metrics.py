"""How near written texts come to the right ones: BLEU, chrF and ROUGE with their intervals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

from steelyard.measurement import Better, Measurement
from steelyard.problem import refuse
from steelyard.statistics import bootstrap
from steelyard.tasks import _text_metrics
from steelyard.tasks._text_metrics import Counted

TextMetric = Literal["bleu", "chrf", "rouge"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One number of a metric.

    Attributes:
        count: What it counts in each pair of a written and a right text.
        meaning: One plain sentence.
    """

    count: Callable[[Sequence[str], Sequence[str]], Counted]
    meaning: str


KINDS: Mapping[TextMetric, Mapping[str, Kind]] = {
    "bleu": {
        "bleu": Kind(
            count=_text_metrics.bleu,
            meaning="how far the written texts agree with the right ones in runs of one to four words; 100 is the same",
        )
    },
    "chrf": {
        "chrf": Kind(
            count=_text_metrics.chrf,
            meaning="how far the written texts agree with the right ones in runs of up to six letters; 100 is the same",
        )
    },
    "rouge": {
        "rouge_l": Kind(
            count=lambda written, wanted: _text_metrics.rouge("rougeL", written, wanted),
            meaning="how much of the written and of the right text stands in both in the same order; 1 is all",
        ),
        "rouge_1": Kind(
            count=lambda written, wanted: _text_metrics.rouge("rouge1", written, wanted),
            meaning="how many words the written and the right text share; 1 is all",
        ),
        "rouge_2": Kind(
            count=lambda written, wanted: _text_metrics.rouge("rouge2", written, wanted),
            meaning="how many pairs of neighbouring words the written and the right text share; 1 is all",
        ),
    },
}
"""The numbers of each metric by name; the first is its best known."""


def check(metrics: Sequence[str]) -> None:
    """Whether all of them are known.

    Raises:
        Refused: Naming the first that is not.
    """
    for name in metrics:
        if name not in get_args(TextMetric):
            raise refuse(
                f"task.metrics has {name!r}; it takes {', '.join(get_args(TextMetric))}", fix="task.metrics=[bleu,chrf]"
            )


def compared(
    metrics: Sequence[TextMetric], written: Sequence[str], wanted: Sequence[str], *, note: str
) -> Iterator[Measurement]:
    """The numbers of these metrics on the test split, with bootstrap intervals.

    Args:
        metrics: Which ones.
        written: What the model wrote (N).
        wanted: What is right (N).
        note: Of every number.
    """
    for metric in metrics:
        for name, kind in KINDS[metric].items():
            counted = kind.count(written, wanted)
            value, interval = bootstrap(counted.rows, counted.score)
            yield Measurement(
                name=name,
                value=value,
                better=Better.HIGHER,
                interval=interval,
                count=len(written),
                split="test",
                note=f"{note}; bootstrap over the examples",
                meaning=kind.meaning,
            )


def copied(metrics: Sequence[TextMetric], texts: Sequence[str], wanted: Sequence[str]) -> Iterator[Measurement]:
    """The control: what the first words of the text itself would get, as many as the right answer has.

    Args:
        metrics: Which ones.
        texts: What was to be answered (N).
        wanted: What is right (N).
    """
    copies = [" ".join(text.split()[: len(right.split())]) for text, right in zip(texts, wanted, strict=True)]
    for metric in metrics:
        name, kind = next(iter(KINDS[metric].items()))
        counted = kind.count(copies, wanted)
        value, interval = bootstrap(counted.rows, counted.score)
        yield Measurement(
            name=f"copied_{name}",
            value=value,
            interval=interval,
            count=len(copies),
            split="test",
            note="control: a model must beat this; bootstrap over the examples",
            meaning="what no model at all would get: the first words of the text, as many as the right answer has",
        )
