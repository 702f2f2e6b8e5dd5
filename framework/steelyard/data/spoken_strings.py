"""Strings of words, spoken by made-up voices, with what was said in letters."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, final, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.data.alphabet import Alphabet, filled
from steelyard.data.in_memory import Corpus, InMemory
from steelyard.data.sound import fitted
from steelyard.data.speakers import speakers
from steelyard.data.speech_synthesiser import Utterance, spoken
from steelyard.data.spoken_words import DIGITS, check_voices
from steelyard.kinds import Kind
from steelyard.problem import check_least, refuse

HeldOut = Literal["variants", "speakers"]


@final
class SpokenStrings(InMemory):
    """Strings of digits made by the synthesiser espeak-ng: samples (T,) in [-1, 1], and the letters of what was said.

    Made up, as `SpokenWords` are. Whole voice variants are held out, or single speakers of variants that others in the
    training share, which is easier. Targets are (L,) tokens of letters, ended by 0 and filled up with -100. Examples
    have one length, so that no answer depends on who stands beside an example in its batch.

    Args:
        words: What strings are made of.
        least: Words in a string, from.
        most: To.
        strings: How many each speaker says.
        content_seed: Decides which.
        held_out: Who belongs to one split as a whole: `variants` or `speakers`.
        alphabet: Letters that texts are spelled with.
        variants: How many voice variants, at most 46.
        speakers_per_variant: Accents, speeds and pitches of each.
        sample_rate: Samples a second.
        seconds: Length of every example.
        cache: Folder of what was made.
        batch_size: Examples in a batch.
        val_fraction: Part of them for validation.
        test_fraction: Part of them for the test.
        options: See `InMemory`.

    Raises:
        Refused: If an option is out of range; when it is set up, if espeak-ng is missing or an utterance is longer than
            `seconds`.
    """

    modality = "audio"
    kind = Kind.AUDIO_TO_TEXT
    bounds = (-1.0, 1.0)

    def __init__(
        self,
        *,
        words: Sequence[str] = DIGITS,
        least: int = 2,
        most: int = 4,
        strings: int = 8,
        content_seed: int = 0,
        held_out: HeldOut = "speakers",
        alphabet: str = Alphabet.letters,
        variants: int = 46,
        speakers_per_variant: int = 16,
        sample_rate: int = 8000,
        seconds: float = 2.2,
        cache: str | Path = "~/.cache/steelyard",
        batch_size: int = 32,
        val_fraction: float = 0.1,
        test_fraction: float = 0.15,
        **options: Any,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
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
        if not 1 <= least <= most:
            raise refuse(
                f"data.least={least} and data.most={most} are no numbers of words", fix="data.least=2 data.most=4"
            )
        if held_out not in get_args(HeldOut):
            raise refuse(f"data.held_out is {held_out!r}, must be variants or speakers", fix="data.held_out=variants")
        check_least("data.strings", strings, 1, fix=8)
        self.words = tuple(words)
        self.least, self.most = least, most
        self.strings = strings
        self.held_out: HeldOut = held_out
        self.content_seed = content_seed
        self.alphabet = Alphabet(alphabet)
        self.variants = variants
        self.speakers_per_variant = speakers_per_variant
        self.sample_rate = sample_rate
        self.length = round(seconds * sample_rate)
        self.cache = Path(cache)

    @cached_property
    def said(self) -> list[Utterance]:
        """What every speaker says, speaker by speaker."""
        random = torch.Generator().manual_seed(self.content_seed)
        return [
            Utterance(text=self._string(random), speaker=person)
            for person in speakers(variants=self.variants, each=self.speakers_per_variant)
            for _ in range(self.strings)
        ]

    def read(self) -> Corpus:
        """All strings by all speakers."""
        made = spoken(self.said, rate=self.sample_rate, cache=self.cache)
        together = self.strings * (self.speakers_per_variant if self.held_out == "variants" else 1)
        texts = [self.alphabet.encode(one.text, where=f"data.words={list(self.words)}") for one in self.said]
        return Corpus(
            inputs=torch.as_tensor(np.stack([self._fitted(*one) for one in zip(self.said, made, strict=True)])),
            targets=filled(texts),
            classes=self.alphabet.tokens,
            divisor=32768.0,
            groups=torch.arange(len(self.said)) // together,
        )

    def moments(self) -> Mapping[str, Any]:
        """Samples in [-1, 1] stay as they are; models learn of the rate and of the longest text, too."""
        return {
            "mean": 0.0,
            "std": 1.0,
            "sample_rate": self.sample_rate,
            "longest": self.corpus.targets.shape[1],
        }

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens as text."""
        return self.alphabet.decode(tokens)

    def _string(self, random: torch.Generator) -> str:
        count = int(torch.randint(self.least, self.most + 1, (), generator=random))
        return " ".join(self.words[int(at)] for at in torch.randint(len(self.words), (count,), generator=random))

    def _fitted(self, said: Utterance, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        if len(samples) > self.length:
            needed = len(samples) / self.sample_rate
            raise refuse(
                f"{said.text!r} takes {needed:.2f} s at {said.speaker.speed} words a minute, data.seconds is "
                f"{self.length / self.sample_rate:g}",
                fix=f"data.seconds={np.ceil(10 * needed) / 10:g}",
            )
        return fitted(samples, length=self.length)
