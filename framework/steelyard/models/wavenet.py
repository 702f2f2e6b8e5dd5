"""WaveNet: the next sample from all before it (van den Oord et al. 2016, arXiv:1609.03499)."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from steelyard.models.mu_law import compress, encode, place
from steelyard.problem import check_least, refuse

SPREAD = 0.2
"""Standard deviation of the weights that the last layer begins with."""


@final
class GatedBlock(nn.Module):
    """One dilated causal convolution of two taps through tanh times sigmoid, with a skip and a residual.

    Sections 2.3 and 2.4 of the paper, and 2.5 for what the speech is conditioned on.

    Args:
        width: Channels of the residual stream.
        skip: Channels that go to the output.
        dilation: Samples from one tap to the other.
        classes: Of the condition, or 0 without one.
        last: Nothing comes after it that would look at its residual, so it has none.
    """

    def __init__(self, *, width: int, skip: int, dilation: int, classes: int, last: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Conv1d(width, 2 * width, kernel_size=2, dilation=dilation)
        self.condition = nn.Embedding(classes, 2 * width) if classes else None
        self.tanh = nn.Tanh()
        self.sigmoid = nn.Sigmoid()
        self.skip = nn.Conv1d(width, skip, kernel_size=1)
        self.residual = None if last else nn.Conv1d(width, width, kernel_size=1)

    def forward(self, stream: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """The stream after this block, and its part of the output; (B, width, T) and (B, skip, T)."""
        tapped = self.taps(nn.functional.pad(stream, (self.dilation, 0)))
        if self.condition is not None:
            assert condition is not None
            tapped = tapped + self.condition(condition)[:, :, None]
        content, gate = tapped.chunk(2, dim=1)
        gated = self.tanh(content) * self.sigmoid(gate)
        return stream if self.residual is None else stream + self.residual(gated), self.skip(gated)


@final
class WaveNet(nn.Module):
    """Samples in [-1, 1] to the distribution of each of them, given those before it and, if wanted, what is said.

    Inside, samples are mu-law levels: the output is a softmax over them, the input is their place on the companded
    scale, so that the probabilities of all samples multiply to that of the sound. Rounding to a level passes gradients
    on as if it were not there, so that a gradient reaches every sample. The last layer begins smooth over the levels.

    Args:
        classes: What the speech is conditioned on (global conditioning, section 2.5), or 0 for nothing.
        levels: Of the mu-law.
        width: Channels of the residual stream.
        skip: Channels of the output stack.
        dilations: Of the blocks, e.g. 1, 2, 4, ... repeated.

    Raises:
        Refused: If a number is out of range.
    """

    def __init__(
        self,
        *,
        classes: int = 0,
        levels: int = 256,
        width: int = 32,
        skip: int = 64,
        dilations: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128),
    ) -> None:
        super().__init__()
        check_least("model.classes", classes, 0)
        check_least("model.levels", levels, 2, fix=256)
        check_least("model.width", width, 1, fix=32)
        check_least("model.skip", skip, 1, fix=64)
        if not dilations or min(dilations) < 1:
            raise refuse(
                f"model.dilations is {list(dilations)}: at least one, each at least 1", fix="model.dilations=[1]"
            )
        self.levels = levels
        self.classes = classes
        self.entry = nn.Conv1d(1, width, kernel_size=2)
        self.blocks = nn.ModuleList(
            GatedBlock(width=width, skip=skip, dilation=dilation, classes=classes, last=number == len(dilations))
            for number, dilation in enumerate(dilations, start=1)
        )
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(skip, skip, kernel_size=1), nn.ReLU(), nn.Conv1d(skip, levels, kernel_size=1)
        )
        begin_smoothly(self.head[-1])

    @property
    def receptive_field(self) -> int:
        """How many of the samples before it a prediction looks at."""
        return 2 + sum(block.dilation for block in self.gated)

    @property
    def gated(self) -> list[GatedBlock]:
        """The blocks, first to last."""
        return [block for block in self.blocks if isinstance(block, GatedBlock)]

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits (B, levels, T): those at t are of sample t, and see the `receptive_field` samples before it only.

        Args:
            samples: (B, T) in [-1, 1].
            condition: (B,) classes, for a model that has them.

        Raises:
            Refused: If the model has classes and nobody says which, or the other way round.
        """
        self.check(condition)
        # Sample t - 1 enters at t; before the first sample there is silence.
        past = nn.functional.pad(self.companded(samples), (1, 0))[:, :-1]
        return self.continued(past, condition)

    def check(self, condition: Tensor | None) -> None:
        """Refuses a condition for a model that has none, and none for a model that has one."""
        if (condition is None) != (self.classes == 0):
            raise refuse(
                f"the WaveNet is conditioned on {self.classes} classes, and {'no' if condition is None else 'a'} class "
                "is given",
                fix=f"model.classes={0 if condition is None else 10}",
            )

    def companded(self, samples: Tensor) -> Tensor:
        """The place of each sample's level, rounded forwards and not rounded backwards."""
        exact = compress(samples, levels=self.levels)
        nearest = place(encode(samples.detach(), levels=self.levels), levels=self.levels)
        return exact + (nearest - exact).detach()

    def continued(self, past: Tensor, condition: Tensor | None) -> Tensor:
        """Logits (B, levels, T) of the samples that follow each of `past` (B, T), which are places of levels."""
        stream = self.entry(nn.functional.pad(past, (1, 0))[:, None])
        skips: Tensor | None = None
        for block in self.gated:
            stream, part = block(stream, condition)
            skips = part if skips is None else skips + part
        assert skips is not None
        return self.head(skips)


@torch.no_grad()
def begin_smoothly(last: nn.Module) -> None:
    """Lets neighbouring levels begin alike, so that what is learnt of one level is learnt of those around it.

    Each input of the layer gets a mixture of cosines over the levels, the slow ones strongest. The usual noise treats
    256 levels as 256 unrelated names, and a small net spends much of a short training on finding out their order.

    Args:
        last: The convolution (levels, width, 1) that gives the logits.
    """
    assert isinstance(last, nn.Conv1d)
    levels, width, _ = last.weight.shape
    waves = torch.arange(width)
    over = torch.linspace(0, math.pi, levels)[:, None]
    mixed = (over * waves).cos() / (1 + waves / 8) @ nn.init.orthogonal_(torch.empty(width, width))
    last.weight.copy_((SPREAD * mixed / mixed.std())[:, :, None])
    assert last.bias is not None
    last.bias.zero_()
