"""Many sound files as one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from steelyard.data.sound import fitted, read_sound
from steelyard.problem import Problem, Refused, refuse

TooLong = Literal["cut", "refuse"]
NAMED = 10
"""Files that one refusal names at most."""
SILENT = 1e-4
"""Largest absolute sample below which a file says nothing."""


@final
@dataclass(frozen=True, kw_only=True)
class SoundFiles:
    """How files become examples of one length.

    Attributes:
        sample_rate: Samples a second.
        seconds: Length of every example; what is shorter stands in the middle of silence.
        too_long: What is longer is `cut` to its middle, or refused.
        resampling: Whether files of another rate are changed to it, or refused.
        silence: Whether files that hold nothing but silence are taken.
    """

    sample_rate: int
    seconds: float
    too_long: TooLong
    resampling: bool
    silence: bool

    def __post_init__(self) -> None:
        if self.sample_rate < 1 or not self.seconds > 0:
            raise refuse(
                f"data.sample_rate={self.sample_rate} and data.seconds={self.seconds:g} must be more than 0",
                fix="data.sample_rate=16000 data.seconds=1.0",
            )

    def read(self, paths: Sequence[Path]) -> Tensor:
        """All of them: (N, T) float32 in [-1, 1].

        Raises:
            Refused: Naming the files that cannot be taken.
        """
        rows: list[Tensor] = []
        problems: list[Problem] = []
        for path in paths:
            try:
                rows.append(torch.as_tensor(self._one(path)))
            except Refused as refused:
                problems += refused.problems
                if len(problems) >= NAMED:
                    break
        if problems:
            raise Refused(problems)
        return torch.stack(rows)

    def _one(self, path: Path) -> np.ndarray:
        samples = read_sound(path, rate=self.sample_rate, resampling=self.resampling).samples
        if not self.silence and float(np.abs(samples).max()) < SILENT:
            raise refuse(f"{path} is silent", fix="data.silence=true")
        length = round(self.seconds * self.sample_rate)
        if self.too_long == "refuse" and len(samples) > length:
            taken = len(samples) / self.sample_rate
            raise refuse(
                f"{path} takes {taken:.2f} s, data.seconds is {self.seconds:g}",
                fix=f"data.seconds={np.ceil(10 * taken) / 10:g}",
            )
        return fitted(samples, length=length)
