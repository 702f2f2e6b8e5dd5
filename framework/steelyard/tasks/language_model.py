"""Language modelling: which token comes next?"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from steelyard.adapters import IGNORED, TokenScoring
from steelyard.kinds import Kind
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.runs import Predictions, Run
from steelyard.statistics import bootstrap, mean_interval
from steelyard.tasks.bigram import Bigram
from steelyard.tasks.learning import Judged, Learning

SPLIT = "test"


@final
class LanguageModel(Learning):
    """Cross-entropy of each token, knowing those before it; logs loss and token accuracy.

    A batch is a mapping with the token that follows each one as `labels` (B, L), padded by `IGNORED`; the model takes
    all of it. The loss of an example is the mean over its tokens, so that a long text counts as much as a short one,
    and the texts beside it do not count at all. The perplexity that is measured counts every token once.

    Args:
        model: Any module from the mapping to logits (B, L, vocabulary).
        optimizer: See `Learning`.
        scheduler: See `Learning`.
        interval: See `Learning`.
        l1: See `Learning`.

    Raises:
        Refused: If an option is out of range.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {Kind.TEXT: Kind.TEXT}

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        l1: float = 0.0,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, scheduler=scheduler, interval=interval, l1=l1)
        self.scoring = TokenScoring()

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, L, vocabulary) for the tokens of `labels`."""
        return self.model(batch)

    def example_losses(self, batch: Any) -> Tensor:
        """The mean cross-entropy of each text's tokens."""
        return self.scoring.losses(self(batch), batch["labels"])

    def judge(self, batch: Any, *, learning: bool) -> Judged:
        """The loss of each text, and the share of its tokens that are guessed right."""
        del learning
        logits, labels = self(batch), batch["labels"]
        with torch.no_grad():
            marks = self.scoring.marks(self.scoring.decisions(logits, labels), labels).float()
        return Judged(losses=self.scoring.losses(logits, labels), marks=marks)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Perplexity and accuracy on the test split, then what knowing only the token before would get."""
        for name, split, of in (("perplexity", SPLIT, "test"), ("train_perplexity", "train", "training")):
            yield perplexity(
                name,
                run.predict(split),
                split=split,
                meaning=f"among how many equally likely tokens the model hesitates, on average, at a token of a {of} "
                "text; 1 is never",
            )
        marks = run.predict(SPLIT).marks
        value, interval = mean_interval(marks, low=0, high=1)
        yield Measurement(
            name="token_accuracy",
            value=value,
            better=Better.HIGHER,
            interval=interval,
            count=len(marks),
            split=SPLIT,
            note="mean over the texts, Student's interval",
            meaning="share of the tokens of a test text that the model guesses when it is told all before",
        )
        yield _control(run)


def perplexity(name: str, found: Predictions, *, split: str, meaning: str, note: str = "") -> Measurement:
    """The exponential of the mean loss of a token, each token counted once; the interval resamples whole texts."""
    tokens = (found.targets != IGNORED).sum(dim=1).double()
    rows = torch.stack([found.losses.double() * tokens, tokens], dim=1).numpy()
    value, interval = bootstrap(rows, lambda total: float(np.exp(total[0] / total[1])))
    words = f"{int(tokens.sum())} tokens; bootstrap over the texts"
    return Measurement(
        name=name,
        value=value,
        better=Better.LOWER,
        interval=interval,
        count=len(tokens),
        split=split,
        note=f"{words}; {note}" if note else words,
        meaning=meaning,
    )


def _control(run: Run) -> Measurement:
    """What a model would reach that knows how often each token follows each other one in training."""
    train, test = _pairs(run, "train"), _pairs(run, SPLIT)
    model = Bigram.of(*train, size=int(torch.cat([*train, *test]).max()) + 1)
    losses = model.losses(*test)
    return Measurement(
        name="bigram_perplexity",
        value=math.exp(float(losses.mean())),
        count=len(losses),
        # It is made of what stands in the training texts.
        split="train",
        note="control: a model must beat this; counted in the training texts with absolute discounting, "
        "measured on the test texts",
        meaning="the perplexity of no network at all: how often each token follows the one before",
    )


def _pairs(run: Run, split: str) -> tuple[Tensor, Tensor]:
    """Every token of a split that is followed by one, and that one."""
    before: list[Tensor] = []
    after: list[Tensor] = []
    for batch in run.loader(split):
        counted = batch["labels"] != IGNORED
        before.append(batch["input_ids"][counted])
        after.append(batch["labels"][counted])
    return torch.cat(before), torch.cat(after)
