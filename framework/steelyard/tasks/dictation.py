"""Speech recognition by sequence to sequence."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from torch import Tensor

from steelyard.adapters import TokenScoring
from steelyard.kinds import Kind
from steelyard.tasks.hearing import Hearing
from steelyard.tasks.learning import Judged


@final
class Dictation(Hearing):
    """The model writes one token after the other, and is told the right ones before it while it learns.

    The loss of an example is the mean cross-entropy of its tokens, the end included.

    Its model goes from samples (B, T) and texts (B, L) to logits (B, L, tokens), and its `write(samples, beams=...)`
    gives texts; one beam takes the likeliest token. The options are those of `Hearing`.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {Kind.AUDIO_TO_TEXT: Kind.AUDIO_TO_TEXT}

    scoring = TokenScoring(forced=True)

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
