"""What the tasks of speech recognition share: how good the texts are that were heard."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from steelyard.measurement import Artefact, Better, Measurement, Table
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import check_least
from steelyard.runs import Run
from steelyard.statistics import clopper_pearson, mean_interval, proportion
from steelyard.tasks._word_errors import character_errors, error_rate, word_errors
from steelyard.tasks.learning import Learning

SHOWN = 12
"""Texts in the table of the report."""
SPLIT = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was said and what was heard, one of each for every example."""

    truth: Sequence[str]
    found: Sequence[str]


class Hearing(Learning):
    """A task from samples (B, T) to texts. Batches are (samples, texts): (B, T) and (B, L).

    Texts are tokens; 0 ends them and -100 fills them up.

    Args:
        model: What hears; each task says its shape.
        optimizer: See `Learning`.
        scheduler: See `Learning`.
        interval: See `Learning`.
        beams: Beginnings of texts that are followed when the test split is heard.
        l1: See `Learning`.

    Raises:
        Refused: If an option is out of range.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        beams: int = 1,
        l1: float = 0.0,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, scheduler=scheduler, interval=interval, l1=l1)
        check_least("task.beams", beams, 1)
        self.beams = beams

    @abstractmethod
    def transcribe(self, samples: Tensor) -> list[list[int]]:
        """The text of each sound, in tokens without 0.

        Args:
            samples: (B, T).
        """

    @final
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Word and character error rate of the texts that are heard on the test split, and the loss."""
        heard = self._hear(run)
        for name, errors, of in (
            ("wer", word_errors(heard), "words"),
            ("cer", character_errors(heard), "letters"),
        ):
            yield _rate(name, *errors, of=of, seed=run.seed)
        right = sum(one == other for one, other in zip(heard.found, heard.truth, strict=True))
        yield proportion(
            "exact",
            right,
            len(heard.truth),
            better=Better.HIGHER,
            split=SPLIT,
            meaning="share of the test sounds whose text is heard without any error",
        )
        losses = run.predict(SPLIT).losses
        yield Measurement(
            name="loss",
            value=float(losses.mean()),
            better=Better.LOWER,
            unit="nats",
            interval=mean_interval(losses)[1],
            count=len(losses),
            split=SPLIT,
            note="the interval is Student's",
            meaning="how little the model believed in the right text, on average; 0 is certain and always right",
        )
        yield Table(
            name="heard",
            title=f"What was said and what was heard: the first {min(SHOWN, len(heard.truth))} test sounds",
            columns=("said", "heard"),
            rows=[*zip(heard.truth[:SHOWN], heard.found[:SHOWN], strict=True)],
            split=SPLIT,
        )

    @torch.no_grad()
    def _hear(self, run: Run) -> Heard:
        adapter, scoring = run.adapter, run.adapter.scoring
        truth: list[str] = []
        found: list[str] = []
        for raw in run.loader(SPLIT):
            batch: Any = run.to_device(raw)
            truth += [adapter.told(scoring.wanted(row)) for row in adapter.targets(batch).cpu()]
            found += [adapter.told(text) for text in self.transcribe(adapter.inputs(self, batch))]
        return Heard(truth=truth, found=found)


def _rate(name: str, errors: Tensor, sizes: Tensor, *, of: str, seed: int) -> Measurement:
    rate, interval = error_rate(errors, sizes, seed=seed)
    if not bool(errors.any()):
        # Drawn again and again, no error stays no error.
        interval = clopper_pearson(0, int(sizes.sum()))
    return Measurement(
        name=name,
        value=rate,
        better=Better.LOWER,
        interval=interval,
        count=len(errors),
        split=SPLIT,
        note=f"{int(errors.sum())} errors in {int(sizes.sum())} {of}; the interval is the bootstrap's over the sounds",
        meaning=f"{of} that would have to be changed, put in or taken out, for each of the {of} that were said",
    )
