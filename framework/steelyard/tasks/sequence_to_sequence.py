"""Sequence to sequence: translation, summarisation, and every other answer that is a text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from steelyard.adapters import IGNORED, TokenScoring
from steelyard.kinds import Kind
from steelyard.measurement import Artefact, Better, Measurement, Table
from steelyard.models.writer import Writer
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import check_least, refuse
from steelyard.runs import Run
from steelyard.statistics import mean_interval, proportion
from steelyard.tasks.learning import Judged, Learning, check_smoothing
from steelyard.tasks.text_metrics import TextMetric, check, compared, copied
from steelyard.tasks.written import Written, write

SPLIT = "test"


@final
class SequenceToSequence(Learning):
    """Cross-entropy of the tokens of the right answer, each knowing those before it; logs loss and token accuracy.

    A batch is a mapping with the answer's tokens as `labels` (B, T), padded by `IGNORED`; the model takes all of it.
    The loss of an example is the mean over its tokens, so that a long answer counts as much as a short one, and the
    answers beside it do not count at all.

    After training the model writes answers to test examples by itself; `metrics` says how they are judged.

    Args:
        model: A `Writer`.
        optimizer: See `Learning`.
        max_length: Most tokens of a written answer, with the one that ends it.
        scheduler: See `Learning`.
        interval: See `Learning`.
        label_smoothing: Part of the probability of each token that is spread over the vocabulary, in training.
        l1: See `Learning`.
        metrics: How written answers are judged: `bleu`, `chrf` and `rouge`.
        beams: Of the beam search; 1 is greedy.
        written: At most this many test examples are written.
        shown: How many of them the report shows.

    Raises:
        Refused: If an option is out of range, or the model cannot write.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {Kind.TEXT_TO_TEXT: Kind.TEXT_TO_TEXT}

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        max_length: int,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        label_smoothing: float = 0.0,
        l1: float = 0.0,
        metrics: Sequence[TextMetric] = ("bleu", "chrf"),
        beams: int = 4,
        written: int = 500,
        shown: int = 8,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, scheduler=scheduler, interval=interval, l1=l1)
        if not isinstance(model, Writer):
            raise refuse(f"{type(model).__name__} cannot write an answer: it has no write()", fix="model=bart")
        check_least("task.beams", beams, 1, fix=4)
        check_least("task.written", written, 1, fix=4)
        check_least("task.shown", shown, 0, fix=4)
        check(metrics)
        self.scoring = TokenScoring()
        self.max_length = max_length
        self.label_smoothing = check_smoothing(label_smoothing)
        self.metrics: tuple[TextMetric, ...] = tuple(metrics)
        self.beams = beams
        self.written = written
        self.shown = shown

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, T, vocabulary) for the tokens of `labels`."""
        return self.model(batch)

    def example_losses(self, batch: Any) -> Tensor:
        """The mean cross-entropy of each answer's tokens."""
        return self.judge(batch, learning=False).losses

    def judge(self, batch: Any, *, learning: bool) -> Judged:
        """The loss of each answer, while learning with smoothed labels, and the share of its tokens that are right."""
        logits, labels = self(batch), batch["labels"]
        smoothing = self.label_smoothing if learning else 0.0
        losses = token_losses(logits, labels, smoothing=smoothing)
        with torch.no_grad():
            marks = self.scoring.marks(self.scoring.decisions(logits, labels), labels).float()
        return Judged(losses=losses, marks=marks)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What it writes by itself, then how it reads the right answers, then what copying would get."""
        model: Any = self.model
        found = write(run, model, split=SPLIT, count=self.written, beams=self.beams, most=self.max_length)
        yield from compared(self.metrics, found.answers, found.wanted, note=found.note)
        yield _exact(found)
        yield from _tokens(run)
        if found.texts is not None:
            yield from copied(self.metrics, found.texts, found.wanted)
        if self.shown:
            yield _table(found, rows=self.shown)


def token_losses(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy of the tokens of each example, in nats: (B,); 0 where it has none.

    Args:
        logits: (B, T, vocabulary).
        labels: (B, T), padded by `IGNORED`.
        smoothing: Part of the probability of each token that is spread over the vocabulary.
    """
    losses = cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none", label_smoothing=smoothing
    )
    return losses.sum(dim=1) / (labels != IGNORED).sum(dim=1).clamp(min=1)


def same_letters(one: str, other: str) -> bool:
    """Whether two texts are the same, capitals and spaces aside: not every tokeniser keeps these."""
    return "".join(one.casefold().split()) == "".join(other.casefold().split())


def _exact(found: Written) -> Measurement:
    right = sum(map(same_letters, found.answers, found.wanted))
    return proportion(
        "exact_match",
        right,
        len(found.answers),
        better=Better.HIGHER,
        split=SPLIT,
        note=f"{found.note}; capitals and spaces aside",
        meaning="share of the test examples whose written answer is the right one, letter by letter",
    )


def _tokens(run: Run) -> Iterator[Measurement]:
    for name, split, of in (("token_accuracy", SPLIT, "test"), ("train_token_accuracy", "train", "training")):
        marks = run.predict(split).marks
        value, interval = mean_interval(marks, low=0, high=1)
        yield Measurement(
            name=name,
            value=value,
            better=Better.HIGHER,
            interval=interval,
            count=len(marks),
            split=split,
            note="the right answer up to there is given; mean over the examples, Student's interval",
            meaning=f"share of the tokens of a {of} answer that the model guesses when it is told all before",
        )
    losses = run.predict(SPLIT).losses
    value, interval = mean_interval(losses)
    yield Measurement(
        name="loss",
        value=value,
        better=Better.LOWER,
        unit="nats",
        interval=interval,
        count=len(losses),
        split=SPLIT,
        note="cross-entropy of a token without smoothing and L1, mean over the answer; Student's interval",
        meaning="how little the model believed in the right next token, on average; 0 is certain and always right",
    )


def _table(found: Written, *, rows: int) -> Table:
    texts = found.texts or [""] * len(found.answers)
    lines = zip(texts, found.answers, found.wanted, strict=True)
    return Table(
        name="written",
        title="What the model wrote, beside what is right",
        columns=("text", "written", "right answer", "same"),
        rows=[
            (text, answer, wanted, "yes" if same_letters(answer, wanted) else "no")
            for text, answer, wanted in list(lines)[:rows]
        ],
        split=SPLIT,
    )
