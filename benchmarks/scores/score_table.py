"""The list of the scores that the presets reach, and the table that is made of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

FIGURES = Path(__file__).with_name("figures.json")
BEGIN, END = "<!-- scores: written by make scores -->", "<!-- end of scores -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One preset and what it has to reach.

    Attributes:
        name: How `--only` calls it.
        task: In words.
        data: In words, with where they come from.
        model: In words.
        metric: A measurement of the scorecard.
        goal: The value that has to be reached; None where there is none.
        beside: Name of the row that the goal is relative to: its score plus `goal` has to be reached.
        better: Whether more or less of it is better.
        words: Of the command line.
        seeds: The score is the mean over these.
    """

    name: str
    task: str
    data: str
    model: str
    metric: str
    goal: float | None
    better: Literal["more", "less"] = "more"
    words: tuple[str, ...]
    beside: str | None = None
    seeds: tuple[int, ...] = (0,)

    def wanted(self, figures: Mapping[str, "Figure"]) -> float | None:
        """The value that has to be reached, given what the other rows came to; None where there is none."""
        if self.goal is None or self.beside is None:
            return self.goal
        return figures[self.beside].value + self.goal if self.beside in figures else None

    def reached(self, value: float, figures: Mapping[str, "Figure"]) -> bool:
        """Whether the goal is met."""
        wanted = self.wanted(figures)
        return wanted is None or (value >= wanted if self.better == "more" else value <= wanted)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What a row came to.

    Attributes:
        value: Mean over the seeds.
        low: Lower end of its 95 % interval: over the test examples, or over the seeds where there are several.
        high: Upper end.
        seconds: Wall time of training, of one seed.
        machine: Where.
        seeds: How many the score is the mean of. It stands here since the list may ask for more than were trained.
    """

    value: float
    low: float | None
    high: float | None
    seconds: float
    machine: str
    seeds: int


FASHION = "Fashion-MNIST (real)"
REVIEWS = "movie reviews (real)"
# Each row runs in a folder of its own, so a path that is seen from the checkout is said in full.
REVIEWS_PATH = f"data.path={(Path(__file__).parents[3] / 'shared/data/movie_reviews.csv').resolve()}"
VOICES = "unheard voices of espeak-ng (synthesised)"
SPEAKERS = "unheard speakers of known voices of espeak-ng (synthesised)"
ROWS = (
    Row(
        name="resnet",
        task="image classification",
        data=FASHION,
        model="ResNet, 78k",
        metric="task.accuracy",
        goal=0.91,
        words=("experiment=image_classification",),
    ),
    Row(
        name="mlp_one_cycle",
        task="image classification",
        data=FASHION,
        model="MLP, one cycle",
        metric="task.accuracy",
        goal=0.88,
        words=("experiment=mlp_one_cycle",),
    ),
    Row(
        name="source_recipe",
        task="image classification",
        data=FASHION,
        model="MLP, Adam",
        metric="task.accuracy",
        goal=0.87,
        words=("experiment=source_recipe",),
        seeds=(0, 1, 2),
    ),
    Row(
        name="keras",
        task="image classification",
        data=FASHION,
        model="Keras MLP, as compiled",
        metric="task.accuracy",
        goal=0.87,
        words=("experiment=keras",),
        seeds=(0, 1, 2),
    ),
    Row(
        name="detection",
        task="object detection",
        data="shapes (made up)",
        model="RT-DETR",
        metric="task.map50",
        goal=0.90,
        words=("experiment=detection",),
    ),
    Row(
        name="video",
        task="video analysis",
        data="motion (made up)",
        model="VideoMAE",
        metric="task.accuracy",
        goal=0.90,
        words=("experiment=video",),
    ),
    Row(
        name="sentiment",
        task="sentiment",
        data=REVIEWS,
        model="BERT, fine-tuned in bf16",
        metric="task.accuracy",
        goal=0.82,
        words=("experiment=sentiment", REVIEWS_PATH),
        seeds=(0, 1, 2),
    ),
    Row(
        name="sentiment_lora",
        task="sentiment",
        data=REVIEWS,
        model="BERT with LoRA",
        metric="task.accuracy",
        goal=-0.02,
        beside="sentiment",
        words=("experiment=sentiment_lora", REVIEWS_PATH),
        seeds=(0, 1, 2),
    ),
    Row(
        name="translation",
        task="translation",
        data="a language pair by rules (made up)",
        model="BART",
        metric="task.bleu",
        goal=95.0,
        words=("experiment=translation",),
    ),
    Row(
        name="summarisation",
        task="summarisation",
        data="stories (made up)",
        model="BART",
        metric="task.rouge_l",
        goal=0.9,
        words=("experiment=summarisation",),
    ),
    Row(
        name="language_model",
        task="language modelling",
        data="stories (made up)",
        model="GPT",
        metric="task.perplexity",
        goal=2.5,
        better="less",
        words=("experiment=language_model",),
    ),
    Row(
        name="keyword",
        task="keyword spotting",
        data=f"digits, {VOICES}",
        model="CNN on mel spectrograms",
        metric="task.accuracy",
        goal=0.90,
        words=("experiment=keyword",),
    ),
    Row(
        name="voice_search",
        task="voice search",
        data=f"places, {VOICES}",
        model="CNN embedding",
        metric="task.recall_at_1",
        goal=0.95,
        words=("experiment=voice_search",),
    ),
    Row(
        name="recognition",
        task="speech recognition",
        data=f"strings of digits, {SPEAKERS}",
        model="CNN with CTC",
        metric="task.wer",
        goal=0.05,
        better="less",
        words=("experiment=recognition",),
        seeds=(0, 1, 2),
    ),
    Row(
        name="recognition_variants",
        task="speech recognition",
        data=f"strings of digits, {VOICES}",
        model="CNN with CTC",
        metric="task.wer",
        goal=None,
        better="less",
        words=("experiment=recognition", "data.held_out=variants"),
    ),
    Row(
        name="dictation",
        task="speech recognition",
        data=f"strings of digits, {SPEAKERS}",
        model="Whisper",
        metric="task.wer",
        goal=0.05,
        better="less",
        words=("experiment=dictation",),
    ),
    Row(
        name="synthesis",
        task="speech synthesis",
        data=f"digits, {VOICES}",
        model="WaveNet",
        metric="task.bits_below_markov",
        goal=1.0,
        words=("experiment=synthesis",),
    ),
)


def read(path: Path = FIGURES) -> dict[str, Figure]:
    """The figures of the rows that have been trained."""
    if not path.exists():
        return {}
    return {name: Figure(**entry) for name, entry in json.loads(path.read_text()).items()}


def write(figures: Mapping[str, Figure], path: Path = FIGURES) -> None:
    """Stores them, in the order of the list."""
    ordered = {row.name: asdict(figures[row.name]) for row in ROWS if row.name in figures}
    path.write_text(json.dumps(ordered, indent=1) + "\n")


def markdown(figures: Mapping[str, Figure], rows: Iterable[Row] = ROWS) -> str:
    """The table; rows without a figure are left out."""
    head = ("task", "data", "model", "command", "score, with 95 % interval", "goal", "training")
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        if row.name in figures:
            found = figures[row.name]
            around = "" if found.low is None or found.high is None else f" [{found.low:.3g}, {found.high:.3g}]"
            mean = f", mean of {found.seeds} seeds" if found.seeds > 1 else ""
            sign, wanted = "≥" if row.better == "more" else "≤", row.wanted(figures)
            cells = (
                row.task,
                row.data,
                row.model,
                f"`{' '.join(word for word in row.words if word != REVIEWS_PATH)}`",
                f"{row.metric.rpartition('.')[2].replace('_', ' ')} {found.value:.3g}{around}{mean}",
                "" if wanted is None else f"{sign} {wanted:.3g}",
                f"{found.seconds:.0f} s, {found.machine}",
            )
            lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def placed(readme: str, table: str) -> str:
    """The README with this table between its markers."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the README lacks the line {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def measurement(scorecard: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One measurement of a stored scorecard.

    Raises:
        KeyError: If there is none with a value.
    """
    for section in scorecard["sections"]:
        for found in section["measurements"]:
            if found["name"] == name and found["value"] is not None:
                return found
    raise KeyError(name)
