"""Speech made sample by sample."""

import math
import random
from collections.abc import Iterator
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from steelyard.measurement import Artefact, Measurement
from steelyard.models.wavenet import WaveNet
from steelyard.models.wavenet_generation import generate
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import check_least, refuse
from steelyard.runs import Run
from steelyard.synthesis import LevelScoring
from steelyard.synthesis._measuring import bits
from steelyard.tasks.learning import Judged
from steelyard.tasks.speaking import Speaking


@final
class Synthesis(Speaking):
    """A WaveNet learns to say words, on batches (samples, words): the loss of an example is the mean of its samples'.

    In training a batch shows one of the windows that its examples are cut into, with everything before it that the
    model can see; which one is drawn anew for every batch, for all of its examples alike and without a look at them.

    Args:
        model: A `WaveNet` with as many classes as there are words.
        optimizer: See `Learning`.
        classes: See `Speaking`.
        sample_rate: See `Speaking`.
        scheduler: See `Learning`.
        interval: See `Learning`.
        window: Samples that are learnt from at a time; 0 for whole examples.
        temperature: Divides the logits when speech is made; below 1 the likely is more likely.
        clips: See `Speaking`.
        recogniser: See `Speaking`.
        recogniser_epochs: See `Speaking`.
        l1: See `Learning`.

    Raises:
        Refused: If an option is out of range, or the model is no WaveNet of these words.
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
        window: int = 1000,
        temperature: float = 1.0,
        clips: int = 6,
        recogniser: str | None = None,
        recogniser_epochs: int = 12,
        l1: float = 0.0,
    ) -> None:
        if not isinstance(model, WaveNet):
            raise refuse(f"task=synthesis needs a WaveNet, model is a {type(model).__name__}", fix="model=wavenet")
        check_least("task.window", window, 0, fix=1000)
        check_least("task.clips", clips, 2, fix=6)
        check_least("task.temperature", temperature, 0, fix=1.0)
        super().__init__(
            model=model,
            optimizer=optimizer,
            classes=classes,
            sample_rate=sample_rate,
            scheduler=scheduler,
            interval=interval,
            clips=clips,
            recogniser=recogniser,
            recogniser_epochs=recogniser_epochs,
            l1=l1,
        )
        self.window = window
        self.temperature = temperature
        self.scoring = LevelScoring(levels=model.levels)

    def forward(self, samples: Tensor, words: Tensor) -> Tensor:
        """Logits (B, levels, T) of the samples (B, T) of words (B,)."""
        return self.model(samples, words)

    def example_losses(self, batch: Any) -> Tensor:
        """The mean cross-entropy of all samples of an example."""
        samples, words = batch[0], batch[1]
        return self.scoring.losses(self(samples, words), self.scoring.truth(samples, words))

    def judge(self, batch: Any, *, learning: bool) -> Judged:
        """While learning, the losses are those of one window."""
        if not (learning and self.window):
            return Judged(losses=self.example_losses(batch))
        samples, words = batch[0], batch[1]
        length = samples.shape[1]
        # Python's stream and not torch's: under a plan's fake tensors a drawn tensor has no value.
        number = random.randrange(math.ceil(length / self.window))  # noqa: S311
        start = min(number * self.window, max(0, length - self.window))
        before = max(0, start - self.net.receptive_field)
        seen = samples[:, before : start + self.window]
        logits = self.model(seen, words, first=start - before)
        return Judged(losses=self.scoring.losses(logits, self.scoring.truth(seen[:, start - before :], words)))

    @property
    def net(self) -> WaveNet:
        """The model."""
        assert isinstance(self.model, WaveNet)
        return self.model

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Bits per sample beside a Markov chain's; then what it says, by a recogniser, by its spectra, and to hear."""
        yield from bits(run)
        yield from self.weigh(run)

    def say(self, words: Tensor, *, length: int, generator: torch.Generator) -> Tensor:
        """Sample by sample, each drawn from what the model thinks of it."""
        return generate(self.net, length=length, condition=words, temperature=self.temperature, generator=generator)
