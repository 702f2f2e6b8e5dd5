"""Speech recognition by CTC."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from torch import Tensor

from steelyard.adapters import CTCScoring
from steelyard.adapters.ctc_scoring import collapsed, ctc_losses
from steelyard.kinds import Kind
from steelyard.tasks._ctc_beams import best_text
from steelyard.tasks.hearing import Hearing


@final
class CTCRecognition(Hearing):
    """Connectionist temporal classification (Graves et al. 2006): the model says a letter or a blank at every frame.

    The loss of an example is minus the logarithm of the probability of its text, over all paths that say it.

    Its model goes from samples (B, T) to logits (B, frames, tokens), where token 0 is the blank; one beam takes the
    best path. The options are those of `Hearing`.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {Kind.AUDIO_TO_TEXT: Kind.AUDIO_TO_LETTERS}

    scoring = CTCScoring()

    def forward(self, samples: Tensor) -> Tensor:
        """Logits (B, frames, tokens)."""
        return self.model(samples)

    def example_losses(self, batch: Any) -> Tensor:
        """CTC."""
        samples, texts = batch[0], batch[1]
        return ctc_losses(self(samples), texts)

    def transcribe(self, samples: Tensor) -> list[list[int]]:
        """By the best path, or by beam search."""
        logits = self(samples).cpu()
        if self.beams == 1:
            return [collapsed(path) for path in logits.argmax(dim=2).tolist()]
        return [best_text(row, beams=self.beams) for row in logits.log_softmax(dim=2)]
