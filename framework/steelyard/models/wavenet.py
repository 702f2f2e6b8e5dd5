"""WaveNet: the next sample from all before it (van den Oord et al. 2016, arXiv:1609.03499)."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models.mu_law import compress, encode, place
from steelyard.problem import check_least, refuse

SPREAD = 0.2
"""Standard deviation of the weights that the last layer begins with."""


@final
class GatedBlock(nn.Module):
    """One dilated causal convolution of two taps through tanh times sigmoid, with a residual.

    Sections 2.3 and 2.4 of the paper, and 2.5 for what the speech is conditioned on. A convolution of two taps is one
    matrix for both of them side by side: with the channels last, bfloat16 makes it quicker, which it does not `Conv1d`.

    Args:
        width: Channels of the residual stream.
        dilation: Samples from one tap to the other.
        classes: Of the condition, or 0 without one.
        last: Nothing comes after it that would look at its residual, so it has none.
    """

    def __init__(self, *, width: int, dilation: int, classes: int, last: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Linear(2 * width, 2 * width)  # the older tap first
        self.condition = nn.Embedding(classes, 2 * width) if classes else None
        self.tanh = nn.Tanh()
        self.sigmoid = nn.Sigmoid()
        self.residual = None if last else nn.Linear(width, width)

    def forward(self, stream: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """The stream after this block, and what its gates let through; both (B, T, width)."""
        tapped = self.taps(torch.cat([earlier(stream, by=self.dilation), stream], dim=2))
        if self.condition is not None:
            assert condition is not None
            tapped = tapped + self.condition(condition)[:, None].to(tapped.dtype)
        content, gate = tapped.chunk(2, dim=2)
        gated = self.tanh(content) * self.sigmoid(gate)
        return stream if self.residual is None else stream + self.residual(gated), gated


def earlier(stream: Tensor, *, by: int) -> Tensor:
    """The stream (B, T, width) `by` samples ago, and silence before it began."""
    return nn.functional.pad(stream, (0, 0, by, 0))[:, : stream.shape[1]]


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

    does = frozenset({Kind.CLASS_TO_AUDIO})

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
        self.entry = nn.Linear(2, width)
        self.blocks = nn.ModuleList(
            GatedBlock(width=width, dilation=dilation, classes=classes, last=number == len(dilations))
            for number, dilation in enumerate(dilations, start=1)
        )
        # The sum of all blocks' skips is one product with all that their gates let through.
        self.skip = nn.Linear(len(dilations) * width, skip)
        nn.init.uniform_(self.skip.weight, -(width**-0.5), width**-0.5)  # as of a layer for each block
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(skip, skip), nn.ReLU(), nn.Linear(skip, levels))
        begin_smoothly(self.head[-1])

    @property
    def receptive_field(self) -> int:
        """How many of the samples before it a prediction looks at."""
        return 2 + sum(block.dilation for block in self.gated)

    @property
    def gated(self) -> list[GatedBlock]:
        """The blocks, first to last."""
        return [block for block in self.blocks if isinstance(block, GatedBlock)]

    def forward(self, samples: Tensor, condition: Tensor | None = None, *, first: int = 0) -> Tensor:
        """Logits (B, levels, T): those at t are of sample t, and see the `receptive_field` samples before it only.

        Args:
            samples: (B, T) in [-1, 1].
            condition: (B,) classes, for a model that has them.
            first: The samples before it are only looked back at, and get no logits.

        Raises:
            Refused: If the model has classes and nobody says which, or the other way round.
        """
        self.check(condition)
        # Sample t - 1 enters at t; before the first sample there is silence.
        past = nn.functional.pad(self.companded(samples), (1, 0))[:, :-1]
        return self.continued(past, condition, first=first)

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

    def continued(self, past: Tensor, condition: Tensor | None, *, first: int = 0) -> Tensor:
        """Logits (B, levels, T) of the samples that follow each of `past` (B, T), which are places of levels.

        They lie in memory with the levels last.
        """
        each = past[:, :, None]
        stream = self.entry(torch.cat([earlier(each, by=1), each], dim=2))
        passed = list[Tensor]()
        for block in self.gated:
            stream, gated = block(stream, condition)
            passed.append(gated[:, first:])
        return self.head(self.skip(torch.cat(passed, dim=2))).transpose(1, 2)


@torch.no_grad()
def begin_smoothly(last: nn.Module) -> None:
    """Lets neighbouring levels begin alike, so that what is learnt of one level is learnt of those around it.

    Each input of the layer gets a mixture of cosines over the levels, the slow ones strongest. The usual noise treats
    256 levels as 256 unrelated names, and a small net spends much of a short training on finding out their order.

    Args:
        last: The layer (levels, width) that gives the logits.
    """
    assert isinstance(last, nn.Linear)
    levels, width = last.weight.shape
    waves = torch.arange(width)
    over = torch.linspace(0, math.pi, levels)[:, None]
    mixed = (over * waves).cos() / (1 + waves / 8) @ nn.init.orthogonal_(torch.empty(width, width))
    last.weight.copy_(SPREAD * mixed / mixed.std())
    last.bias.zero_()
