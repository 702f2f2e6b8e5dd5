"""Single words, spoken by made-up voices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from steelyard.data.in_memory import Corpus, InMemory
from steelyard.data.sound import fitted
from steelyard.data.speakers import VARIANTS, speakers
from steelyard.data.speech_synthesiser import Utterance, spoken
from steelyard.kinds import Kind
from steelyard.problem import check_least, refuse

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@final
class SpokenWords(InMemory):
    """Words made by the synthesiser espeak-ng: samples (T,) in [-1, 1], one word in the middle of silence.

    Made up: no human spoke them, and espeak-ng's voices differ less than people do. Whole voice variants are held out
    for validation and test, since an unseen speed and pitch of a known variant is too easy. Which ones depends on
    `split_seed` alone. What was made is kept in `cache` and read again by the next run.

    Args:
        words: What is said; the target is the place in this list.
        variants: How many voice variants, at most 46.
        speakers_per_variant: Accents, speeds and pitches of each.
        sample_rate: Samples a second.
        seconds: Length of every example.
        cache: Folder of what was made.
        val_fraction: Part of the variants for validation.
        test_fraction: Part of them for the test.
        options: See `InMemory`.

    Attributes:
        names: The words.

    Raises:
        Refused: If an option is out of range; when it is set up, if espeak-ng is missing.
    """

    modality = "audio"
    kind = Kind.AUDIO_TO_CLASS
    bounds = (-1.0, 1.0)

    def __init__(
        self,
        *,
        words: Sequence[str] = DIGITS,
        variants: int = 40,
        speakers_per_variant: int = 3,
        sample_rate: int = 8000,
        seconds: float = 1.0,
        cache: str | Path = "~/.cache/steelyard",
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            **options,
        )
        check_voices(
            variants=variants,
            speakers_per_variant=speakers_per_variant,
            sample_rate=sample_rate,
            seconds=seconds,
            words=words,
        )
        self.names = tuple(words)
        self.variants = variants
        self.speakers_per_variant = speakers_per_variant
        self.sample_rate = sample_rate
        self.length = round(seconds * sample_rate)
        self.cache = Path(cache)

    def read(self) -> Corpus:
        """All words by all speakers."""
        people = speakers(variants=self.variants, each=self.speakers_per_variant)
        said = [Utterance(text=word, speaker=person) for person in people for word in self.names]
        made = [
            fitted(samples, length=self.length) for samples in spoken(said, rate=self.sample_rate, cache=self.cache)
        ]
        each = self.speakers_per_variant * len(self.names)
        return Corpus(
            inputs=torch.as_tensor(np.stack(made)),
            targets=torch.arange(len(self.names)).repeat(len(people)),
            classes=len(self.names),
            divisor=32768.0,
            groups=torch.arange(self.variants).repeat_interleave(each),
        )

    def moments(self) -> Mapping[str, Any]:
        """Samples in [-1, 1] stay as they are; models learn of the rate and the words, too."""
        return {"mean": 0.0, "std": 1.0, "sample_rate": self.sample_rate, "names": self.names}


def check_voices(
    *, variants: int, speakers_per_variant: int, sample_rate: int, seconds: float, words: Sequence[str]
) -> None:
    """Refuses what nobody can say.

    Raises:
        Refused: If a number is out of range.
    """
    if not 3 <= variants <= len(VARIANTS):
        raise refuse(f"data.variants is {variants}, must be 3 to {len(VARIANTS)}", fix="data.variants=40")
    check_least("data.speakers_per_variant", speakers_per_variant, 1, fix=3)
    if sample_rate < 4000:
        raise refuse(
            f"data.sample_rate is {sample_rate}: below 4,000 samples a second words cannot be told apart",
            fix="data.sample_rate=8000",
        )
    if not seconds > 0:
        raise refuse(f"data.seconds is {seconds:g}, must be more than 0", fix="data.seconds=1.0")
    if len(set(words)) < len(words) or not words:
        raise refuse(f"data.words is {list(words)}: each word once, and at least one", fix="data=spoken_digits")
