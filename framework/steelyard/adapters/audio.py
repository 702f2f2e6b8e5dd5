"""Sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from steelyard.adapters import _sound_drawing
from steelyard.adapters.adapter import PairAdapter

WINDOWS = 25
"""Windows in a second (40 ms, about half a speech sound), or in an example whose rate is not known."""


@final
@dataclass(frozen=True, kw_only=True)
class AudioAdapter(PairAdapter):
    """Samples (B, T); a window of 40 ms is one unit of attribution.

    A single sample says nothing: at 8,000 a second it lasts an eighth of a millisecond, and its neighbours tell it.

    Attributes:
        sample_rate: Samples a second; None where nobody knows, then an example is cut into 25 windows.
    """

    modality: ClassVar[str] = "audio"
    unit: ClassVar[str] = "sample value"

    sample_rate: int | None = None

    def features(self, inputs: Tensor) -> Tensor:
        """The number of the window: shape (T,)."""
        return torch.arange(inputs.shape[1], device=inputs.device) // self._window(inputs)

    def called(self, batch: Any) -> Sequence[Sequence[str]]:
        """When each window begins: in seconds, or in samples where the rate is not known."""
        samples = self.field(batch, 0)
        starts = range(0, samples.shape[1], self._window(samples))
        names = [f"{start}" if self.sample_rate is None else f"{start / self.sample_rate:.2f} s" for start in starts]
        return [names] * len(samples)

    def draw(
        self, batch: Any, attributions: Tensor, *, titles: Sequence[str], decisions: Tensor | None = None
    ) -> bytes:
        """The spectrogram of each sound above what its windows speak for and against, over one axis of time."""
        del decisions
        samples = self.field(batch, 0)
        return _sound_drawing.sounds(
            samples.detach().cpu().float(),
            attributions.detach().cpu().double(),
            titles=titles,
            window=self._window(samples),
            sample_rate=self.sample_rate,
        )

    def _window(self, samples: Tensor) -> int:
        return max(1, (samples.shape[1] if self.sample_rate is None else self.sample_rate) // WINDOWS)
