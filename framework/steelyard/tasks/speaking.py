"""What the tasks that make speech share: how it is weighed."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.measurement import Artefact, Measurement
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import check_least, refuse
from steelyard.runs import Run
from steelyard.synthesis import Recogniser
from steelyard.synthesis._measuring import Sounds, intelligibility, listen, sounds_of, spectra
from steelyard.tasks.learning import Learning


class Speaking(Learning):
    """A task that learns to say words, on batches (samples, words).

    Args:
        model: Of speech; its `classes` are how many words it knows.
        optimizer: See `Learning`.
        classes: Number of words.
        sample_rate: Samples a second.
        scheduler: See `Learning`.
        interval: See `Learning`.
        clips: Sounds of each word that are made and weighed after training.
        recogniser: The checkpoint of a `KeywordCNN` that judges them; None to train one on the same training split.
        recogniser_epochs: How long it is trained.
        l1: See `Learning`.

    Raises:
        Refused: If an option is out of range.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {Kind.AUDIO_TO_CLASS: Kind.CLASS_TO_AUDIO}

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        classes: int,
        sample_rate: int,
        scheduler: MakeScheduler | None,
        interval: Literal["epoch", "step"],
        clips: int,
        recogniser: str | None,
        recogniser_epochs: int,
        l1: float,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, scheduler=scheduler, interval=interval, l1=l1)
        own: Any = model
        if own.classes != classes:
            raise refuse(
                f"model.classes is {own.classes}, the data has {classes} words", fix=f"model.classes={classes}"
            )
        check_least("task.recogniser_epochs", recogniser_epochs, 1, fix=6)
        self.classes = classes
        self.sample_rate = sample_rate
        self.clips = clips
        self.recogniser = recogniser
        self.recogniser_epochs = recogniser_epochs

    @abstractmethod
    def say(self, words: Tensor, *, length: int, generator: torch.Generator) -> Tensor:
        """Sounds (B, length) in [-1, 1] of words (B,)."""

    @final
    def weigh(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What it says, by a recogniser, by its spectra, and to hear."""
        real = sounds_of(run, "test")
        words = torch.arange(self.classes, device=run.device).repeat(self.clips)
        drawing = torch.Generator(run.device).manual_seed(run.seed)
        samples = self.say(words, length=real.samples.shape[1], generator=drawing)
        made = Sounds(samples=samples.cpu(), words=words.cpu())
        yield from intelligibility(made, real, recogniser=self._judge_of_speech(run), classes=self.classes)
        yield from spectra(made, real, sample_rate=self.sample_rate, seed=run.seed)
        yield from listen(made, real, sample_rate=self.sample_rate, told=run.adapter.told)

    def _judge_of_speech(self, run: Run) -> Recogniser:
        train = sounds_of(run, "train")
        if self.recogniser is not None:
            return Recogniser.stored(
                Path(self.recogniser),
                length=train.samples.shape[1],
                classes=self.classes,
                sample_rate=self.sample_rate,
            )
        return Recogniser.learnt(
            train.samples,
            train.words,
            classes=self.classes,
            sample_rate=self.sample_rate,
            epochs=self.recogniser_epochs,
            seed=run.seed,
        )
