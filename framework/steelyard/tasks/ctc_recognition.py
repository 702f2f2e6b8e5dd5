"""Speech recognition by CTC."""

from typing import Any, Literal, final

from torch import Tensor, nn

from steelyard.adapters import CTCScoring
from steelyard.adapters.ctc_scoring import collapsed, ctc_losses
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import refuse
from steelyard.tasks._ctc_beams import best_text
from steelyard.tasks.hearing import Hearing


@final
class CTCRecognition(Hearing):
    """Connectionist temporal classification (Graves et al. 2006): the model says a letter or a blank at every frame.

    The loss of an example is minus the logarithm of the probability of its text, over all paths that say it.

    Args:
        model: From samples (B, T) to logits (B, frames, tokens), where token 0 is the blank.
        optimizer: See `Learning`.
        scheduler: See `Learning`.
        interval: See `Learning`.
        beams: Beginnings of texts that are followed when the test split is heard; 1 takes the best path.
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
        self.scoring = CTCScoring()
        self.beams = beams

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
