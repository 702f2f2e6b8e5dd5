"""Samples from a WaveNet, one after another: what a layer computed once is kept (Le Paine et al. 2016)."""

from typing import final

import torch
from torch import Tensor

from steelyard.models.mu_law import decode, place
from steelyard.models.wavenet import WaveNet


@torch.no_grad()
def generate(
    model: WaveNet,
    *,
    length: int,
    condition: Tensor | None = None,
    count: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws `count` waveforms (count, length) in [-1, 1], each sample from the distribution that the model gives it.

    Args:
        model: A trained WaveNet.
        length: Samples.
        condition: (count,) classes, for a model that has them; its length then decides the count.
        count: How many.
        temperature: Divides the logits; 0 takes the likeliest level.
        generator: Of the drawing.

    Raises:
        Refused: If the model has classes and nobody says which, or the other way round.
    """
    count = count if condition is None else len(condition)
    cached = Cached(model, count=count, condition=condition)
    codes = torch.empty(length, count, dtype=torch.long, device=cached.device)
    past = torch.zeros(count, 1, dtype=cached.dtype, device=cached.device)
    for at in range(length):
        codes[at] = drawn(cached.step(past), temperature=temperature, generator=generator)
        past = place(codes[at], levels=model.levels)[:, None].to(cached.dtype)
    return decode(codes.T, levels=model.levels)


def drawn(logits: Tensor, *, temperature: float, generator: torch.Generator | None) -> Tensor:
    """A level (B,) from logits (B, levels)."""
    if temperature == 0:
        return logits.argmax(dim=1)
    # The highest of the logits with Gumbel's noise is a draw from their softmax.
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp_(min=1e-20)
    return (logits / temperature - uniform.log_().neg_().log_()).argmax(dim=1)


@final
class Cached:
    """A WaveNet that takes one sample at a time and remembers what its taps will need.

    Args:
        model: Its weights are read once, here.
        count: Waveforms that are made side by side.
        condition: (count,) classes, or None.
    """

    @torch.no_grad()
    def __init__(self, model: WaveNet, *, count: int, condition: Tensor | None) -> None:
        model.check(condition)
        entry, blocks = model.entry, model.gated
        self.device, self.dtype = entry.weight.device, entry.weight.dtype
        width = entry.out_features
        self._entry, self._entry_bias = _matrix(entry)
        self._before = torch.zeros(count, 1, dtype=self.dtype, device=self.device)
        self._taps = [_matrix(block.taps)[0] for block in blocks]
        self._tap_bias = [
            block.taps.bias
            if block.condition is None or condition is None
            else block.taps.bias + block.condition(condition)
            for block in blocks
        ]
        # The last block passes nothing on.
        self._residual = [_matrix(block.residual) for block in blocks if block.residual is not None]
        _, first, _, last = model.head
        assert isinstance(first, torch.nn.Linear)
        assert isinstance(last, torch.nn.Linear)
        self._skip, self._skip_bias = _matrix(model.skip)
        self._head = [_matrix(layer) for layer in (first, last)]
        # A ring for each block: row k holds the stream of k steps ago, modulo the dilation.
        self._rings = [
            torch.zeros(block.dilation, count, width, dtype=self.dtype, device=self.device) for block in blocks
        ]
        self._width = width
        self._at = 0

    @torch.no_grad()
    def step(self, past: Tensor) -> Tensor:
        """Logits (B, levels) of the next sample.

        Args:
            past: (B, 1) the sample before it, as the place of its level.
        """
        stream = torch.addmm(self._entry_bias, torch.cat([self._before, past], dim=1), self._entry)
        self._before = past
        width, passed = self._width, list[Tensor]()
        for number, ring in enumerate(self._rings):
            older = ring[self._at % len(ring)]
            tapped = torch.addmm(self._tap_bias[number], torch.cat([older, stream], dim=1), self._taps[number])
            older.copy_(stream)
            gated = tapped[:, :width].tanh() * tapped[:, width:].sigmoid()
            passed.append(gated)
            if number < len(self._residual):
                weight, bias = self._residual[number]
                stream = stream + torch.addmm(bias, gated, weight)
        self._at += 1
        output = torch.addmm(self._skip_bias, torch.cat(passed, dim=1), self._skip)
        for weight, bias in self._head:
            output = torch.addmm(bias, output.relu(), weight)
        return output


def _matrix(layer: torch.nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias as `addmm` takes them quickest."""
    return layer.weight.detach().T.contiguous(), layer.bias.detach()
