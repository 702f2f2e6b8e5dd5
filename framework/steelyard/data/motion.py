"""Made-up videos of a moving shape."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from steelyard.data.in_memory import Corpus, InMemory
from steelyard.kinds import Kind
from steelyard.problem import check_least

KINDS = ("right", "left", "down", "up", "grows", "shrinks")
"""What the shape does, by class."""
SIDE, FRAMES = 32, 8


@final
class Motion(InMemory):
    """Videos (8, 1, 32, 32) in [0, 1] of one disc or square under noise; the class is what it does.

    They are made up, from `content_seed` alone. The shape leaves at one edge and enters at the other, and starts
    anywhere, so that no single frame tells the direction: a model has to see the motion.

    Args:
        videos: How many are made.
        content_seed: Decides what they show.
        val_fraction: Part of the videos for validation.
        test_fraction: Part of them for the test.
        options: See `InMemory`.
    """

    modality = "video"
    kind = Kind.VIDEO_TO_CLASS
    bounds = (0.0, 1.0)
    names = KINDS

    def __init__(
        self,
        *,
        videos: int = 3000,
        content_seed: int = 0,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            **options,
        )
        check_least("data.videos", videos, 1, fix=3000)
        self.videos = videos
        self.content_seed = content_seed

    def read(self) -> Corpus:
        """Makes all of them."""
        random = torch.Generator().manual_seed(self.content_seed)
        kinds = torch.arange(self.videos) % len(KINDS)
        steps = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]])[kinds]
        growth = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, -1.0])[kinds]
        speed = 1.5 + 1.5 * torch.rand(self.videos, generator=random)
        start = SIDE * torch.rand(self.videos, 2, generator=random)
        radius = 4.5 + 2 * torch.rand(self.videos, generator=random)
        disc = torch.rand(self.videos, generator=random) < 0.5
        paint = 0.6 + 0.4 * torch.rand(self.videos, generator=random)
        frames: list[Tensor] = []
        for frame in range(FRAMES):
            since = frame - (FRAMES - 1) / 2
            centre = start + since * speed[:, None] * steps
            shown = _shape(centre, radius + 0.25 * since * speed * growth, disc=disc)
            noise = 0.3 * torch.rand(self.videos, SIDE, SIDE, generator=random)
            frames.append(255 * torch.maximum(shown * paint[:, None, None], noise))
        return Corpus(
            inputs=torch.stack(frames, dim=1)[:, :, None].to(torch.uint8),
            targets=kinds,
            classes=len(KINDS),
            divisor=255,
        )

    def moments(self) -> Mapping[str, Any]:
        """Fixed numbers: nothing is estimated from the data, so nothing of it leaks."""
        return {"mean": 0.25, "std": 0.25}


def _shape(centre: Tensor, radius: Tensor, *, disc: Tensor) -> Tensor:
    """Discs and squares on a torus: (N, SIDE, SIDE) of 0 and 1."""
    places = torch.arange(SIDE).float()
    # The way round the edge may be the shorter one.
    x, y = (((places - at[:, None] + SIDE / 2) % SIDE - SIDE / 2).abs() for at in centre.T)
    far = torch.maximum(x[:, None, :], y[:, :, None])
    round_ = (x[:, None, :] ** 2 + y[:, :, None] ** 2).sqrt()
    return (torch.where(disc[:, None, None], round_, far) <= radius[:, None, None]).float()
