"""Search by voice: a spoken query finds recordings of the same word by other voices."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from steelyard.data.in_memory import InMemory
from steelyard.kinds import Kind
from steelyard.measurement import Artefact, Better, Measurement, Table
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard.statistics import mean_interval, proportion
from steelyard.tasks.learning import Judged, Learning

SPLIT = "test"
SHOWN = 12
"""Queries in the table of the report, with as many answers as FOUND."""
FOUND = 3
CHUNK = 256
"""Queries that are compared with everything at once."""


@final
class VoiceSearch(Learning):
    """Learns an embedding in which recordings of one word point the same way, whoever speaks.

    While learning, each word has a vector, and softmax over the products of the embedding with all of them says which
    word it is: the loss of an example knows nothing of the others in its batch, as that of pairs and triplets does.
    Searching needs no word vectors, so words that were never learned can be searched, too.

    Args:
        model: From samples (B, T) to (B, `model.width`).
        optimizer: See `Learning`.
        classes: Number of words.
        scheduler: See `Learning`.
        interval: See `Learning`.
        scale: Length of every embedding before it meets the word vectors.
        top: The k of recall at k.
        l1: See `Learning`.

    Raises:
        Refused: If the model has no width, or an option is out of range.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {Kind.AUDIO_TO_CLASS: Kind.AUDIO_TO_VECTOR}

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        classes: int,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        scale: float = 16.0,
        top: int = 5,
        l1: float = 0.0,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, scheduler=scheduler, interval=interval, l1=l1)
        width: Any = getattr(model, "width", None)
        if not isinstance(width, int):
            raise refuse(
                "task=voice_search needs a model that says the `width` of its embedding", fix="model=sound_embedding"
            )
        if not scale > 0:
            raise refuse(f"task.scale is {scale:g}, must be more than 0", fix="task.scale=16")
        if top < 2:
            raise refuse(f"task.top is {top}, must be at least 2: recall at 1 is given anyway", fix="task.top=5")
        self.words = nn.Linear(width, classes, bias=False)
        self.scale = scale
        self.top = top

    def embed(self, samples: Tensor) -> Tensor:
        """Vectors of length 1 (B, width)."""
        return normalize(self.model(samples), dim=1)

    def forward(self, samples: Tensor) -> Tensor:
        """Logits (B, classes): how much each embedding points towards each word."""
        return self.words(self.scale * self.embed(samples))

    def example_losses(self, batch: Any) -> Tensor:
        """Cross-entropy."""
        return self.judge(batch, learning=False).losses

    def judge(self, batch: Any, *, learning: bool) -> Judged:
        """Cross-entropy, and whether the nearest word is the right one."""
        del learning
        samples, targets = batch[0], batch[1]
        logits = self(samples)
        return Judged(
            losses=cross_entropy(logits, targets, reduction="none"), marks=(logits.argmax(dim=1) == targets).float()
        )

    @torch.no_grad()
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Every test recording is a query among the test recordings of all other voices."""
        parts = [(self.embed(batch[0]), batch[1]) for batch in map(run.to_device, run.loader(SPLIT))]
        vectors, targets = (torch.cat(column) for column in zip(*parts, strict=True))
        voices = run.data.groups_of(SPLIT) if isinstance(run.data, InMemory) else None
        places, order = ranks(vectors, targets, voices=None if voices is None else voices.to(targets.device))
        known = places > 0
        asked = int(known.sum())
        if asked:
            yield from self._found(places[known], note=_note(asked, len(targets), voices=voices))
        right = int(run.predict(SPLIT).marks.sum())
        yield proportion(
            "accuracy",
            right,
            len(targets),
            better=Better.HIGHER,
            split=SPLIT,
            meaning="share of the test recordings that are nearest to the right one of the words that were learned",
        )
        yield _table(run, targets.cpu(), order.cpu())

    def _found(self, places: Tensor, *, note: str) -> Iterator[Measurement]:
        for top in (1, self.top):
            yield proportion(
                f"recall_at_{top}",
                int((places <= top).sum()),
                len(places),
                better=Better.HIGHER,
                split=SPLIT,
                note=note,
                meaning="share of the spoken queries for which "
                + ("the first recording found" if top == 1 else f"one of the first {top} recordings found")
                + " says the same word",
            )
        mean, interval = mean_interval(1 / places.double(), low=0, high=1)
        yield Measurement(
            name="mrr",
            value=mean,
            better=Better.HIGHER,
            interval=interval,
            count=len(places),
            split=SPLIT,
            note=f"mean reciprocal rank; the interval is Student's; {note}",
            meaning="1 over the place at which the right word is first found, on average; 1 is always at once",
        )


def ranks(vectors: Tensor, targets: Tensor, *, voices: Tensor | None) -> tuple[Tensor, Tensor]:
    """The place at which each recording first finds its word among the recordings of other voices.

    Args:
        vectors: Of length 1 (N, width).
        targets: Words (N,).
        voices: Who speaks (N,); None where every recording is a voice of its own.

    Returns:
        Places (N,), from 1; 0 where nobody else says the word. And the numbers of the nearest recordings (N, at most
        `FOUND`), nearest first.
    """
    count = len(vectors)
    voices = torch.arange(count, device=targets.device) if voices is None else voices
    places: list[Tensor] = []
    nearest: list[Tensor] = []
    for start in range(0, count, CHUNK):
        rows = torch.arange(start, min(start + CHUNK, count), device=targets.device)
        own = voices[rows, None] == voices
        likeness = (vectors[rows] @ vectors.T).masked_fill(own, -torch.inf)
        wanted = (targets[rows, None] == targets) & ~own
        best = likeness.masked_fill(~wanted, -torch.inf).max(dim=1, keepdim=True).values
        ahead = (likeness >= best) & ~wanted & ~own
        places.append(torch.where(wanted.any(dim=1), 1 + ahead.sum(dim=1), 0))
        nearest.append(likeness.topk(min(FOUND, count), dim=1).indices)
    return torch.cat(places), torch.cat(nearest)


def _note(asked: int, count: int, *, voices: Tensor | None) -> str:
    whom = "all other recordings" if voices is None else "the recordings of all other voices"
    silent = f"; {count - asked} queries left out, whose word nobody else says" if asked < count else ""
    return f"each query is sought among {whom} of the {SPLIT} split, by cosine{silent}"


def _table(run: Run, targets: Tensor, order: Tensor) -> Table:
    words = [run.adapter.told([int(target)]) for target in targets]
    shown = range(0, len(words), max(1, len(words) // SHOWN))
    rows = [(words[query], ", ".join(words[int(at)] for at in order[query])) for query in shown]
    return Table(
        name="queries",
        title=f"What was asked for, and the {FOUND} recordings that were found first",
        columns=("asked", "found"),
        rows=rows[:SHOWN],
        split=SPLIT,
    )
