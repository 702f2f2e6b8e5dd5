"""Speech recognition by sequence to sequence."""

from typing import Any, Literal, final

from torch import Tensor, nn

from steelyard.adapters import TokenScoring
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import refuse
from steelyard.tasks.hearing import Hearing
from steelyard.tasks.learning import Judged


@final
class Dictation(Hearing):
    """The model writes one token after the other, and is told the right ones before it while it learns.

    The loss of an example is the mean cross-entropy of its tokens, the end included.

    Args:
        model: From samples (B, T) and texts (B, L) to logits (B, L, tokens); `write(samples, beams=...)` gives texts.
        optimizer: See `Learning`.
        scheduler: See `Learning`.
        interval: See `Learning`.
        beams: Beginnings of texts that are followed when the test split is heard; 1 takes the likeliest token.
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
        if beams < 1:
            raise refuse(f"task.beams is {beams}, must be at least 1", fix="task.beams=1")
        self.scoring = TokenScoring(forced=True)
        self.beams = beams

    def forward(self, samples: Tensor, texts: Tensor) -> Tensor:
        """Logits (B, L, tokens)."""
        return self.model(samples, texts)

    def example_losses(self, batch: Any) -> Tensor:
        """Mean cross-entropy of the tokens of each text."""
        return self.judge(batch, learning=False).losses

    def judge(self, batch: Any, *, learning: bool) -> Judged:
        """The losses, and the share of the tokens that are right given those before them."""
        del learning
        samples, texts = batch[0], batch[1]
        logits = self(samples, texts)
        marks = self.scoring.marks(self.scoring.decisions(logits, texts), texts)
        return Judged(losses=self.scoring.losses(logits, texts), marks=marks.float())

    def transcribe(self, samples: Tensor) -> list[list[int]]:
        """By beam search; the text ends at the first 0."""
        model: Any = self.model
        return [_until_end(row) for row in model.write(samples, beams=self.beams).tolist()]


def _until_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(0)] if 0 in tokens else tokens
