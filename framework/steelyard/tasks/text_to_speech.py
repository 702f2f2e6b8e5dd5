"""Speech made from letters, frame by frame."""

from collections.abc import Iterator
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from steelyard.measurement import Artefact, Measurement
from steelyard.models.speech_t5 import SpeechT5
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard.synthesis import FrameScoring
from steelyard.synthesis._measuring import frame_errors
from steelyard.tasks.speaking import Speaking


@final
class TextToSpeech(Speaking):
    """A SpeechT5 learns to speak the letters of words, on batches (samples, words).

    The loss of an example is the mean absolute error of its log-mel frames, in nats, before and after the last
    convolutions, added up; each step is told the true frames before it. The model says a word in one way only, so after
    training each word is made once.

    Args:
        model: A `SpeechT5` of the data's words.
        optimizer: See `Learning`.
        classes: Number of words.
        sample_rate: Samples a second.
        scheduler: See `Learning`.
        interval: See `Learning`.
        recogniser: See `Speaking`.
        recogniser_epochs: See `Speaking`.
        l1: See `Learning`.

    Raises:
        Refused: If an option is out of range, or the model is no SpeechT5 of these words.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        classes: int,
        sample_rate: int,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        recogniser: str | None = None,
        recogniser_epochs: int = 12,
        l1: float = 0.0,
    ) -> None:
        if not isinstance(model, SpeechT5):
            raise refuse(
                f"task=text_to_speech needs a SpeechT5, model is a {type(model).__name__}", fix="model=speecht5"
            )
        super().__init__(
            model=model,
            optimizer=optimizer,
            classes=classes,
            sample_rate=sample_rate,
            scheduler=scheduler,
            interval=interval,
            clips=1,
            recogniser=recogniser,
            recogniser_epochs=recogniser_epochs,
            l1=l1,
        )
        self.scoring = FrameScoring(mel=model.mel)

    def forward(self, samples: Tensor, words: Tensor) -> Tensor:
        """Log energies (B, 2, mels, frames), before and after the last convolutions."""
        return self.model(samples, words)

    def example_losses(self, batch: Any) -> Tensor:
        """The error of the frames of each example."""
        samples, words = batch[0], batch[1]
        return self.scoring.losses(self(samples, words), self.scoring.truth(samples, words))

    def say(self, words: Tensor, *, length: int, generator: torch.Generator) -> Tensor:
        """Each step is told what the model itself said before."""
        assert isinstance(self.model, SpeechT5)
        assert length == self.model.length
        return self.model.say(words, generator=generator)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The error of foretold frames beside repeating the last one; then what it says by itself."""
        assert isinstance(self.model, SpeechT5)
        yield from frame_errors(run, late=self.model.late)
        yield from self.weigh(run)
