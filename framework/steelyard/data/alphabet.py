"""Letters as tokens, for texts that are heard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from steelyard.problem import refuse

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""What English is spelled with, small."""
NOTHING = 0
"""The token of no letter: where a text ends, and the blank of CTC."""
IGNORED = -100
"""Fills up texts that are shorter than others."""


@final
@dataclass(frozen=True)
class Alphabet:
    """Letter number k of `letters` is token k + 1.

    Attributes:
        letters: Each once.

    Raises:
        Refused: If there are none, or one stands there twice.
    """

    letters: str = LETTERS

    def __post_init__(self) -> None:
        if len({*self.letters}) != len(self.letters) or len(self.letters) < 2:
            raise refuse(
                f"data.alphabet is {self.letters!r}: each letter once, and at least two",
                fix=f'data.alphabet="{LETTERS}"',
            )

    @property
    def tokens(self) -> int:
        """How many there are, `NOTHING` included."""
        return len(self.letters) + 1

    def encode(self, text: str, *, where: str) -> list[int]:
        """A text as tokens, with small letters and single spaces; `NOTHING` ends it.

        Args:
            text: Any.
            where: Its place, for messages.

        Raises:
            Refused: If it is empty or has a letter that is not in the alphabet.
        """
        words = " ".join(text.lower().split())
        if not words:
            raise refuse(f"{where}: the text is empty")
        unknown = "".join(sorted({*words} - self._numbers.keys()))
        if unknown:
            raise refuse(
                f"{where}: {text!r} has {unknown!r}, which is not in data.alphabet",
                fix=f'data.alphabet="{self.letters}{unknown}"',
            )
        return [*(self._numbers[letter] for letter in words), NOTHING]

    def decode(self, tokens: Sequence[int]) -> str:
        """The letters; what is none is left out."""
        return "".join(self.letters[token - 1] for token in tokens if 0 < token <= len(self.letters))

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {letter: number for number, letter in enumerate(self.letters, start=1)}


def filled(texts: Sequence[Sequence[int]]) -> Tensor:
    """Texts of different length as one tensor (N, L), filled up with `IGNORED`."""
    rows = [torch.tensor(text, dtype=torch.long) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
