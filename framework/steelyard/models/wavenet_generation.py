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
        width = entry.out_channels
        self._entry = entry.weight[:, 0].T.contiguous()  # the older tap first
        self._entry_bias = _bias(entry)
        self._before = torch.zeros(count, 1, dtype=self.dtype, device=self.device)
        # Both taps as one matrix: half of the work of a small model is calling.
        self._taps = [
            torch.cat([block.taps.weight[:, :, 0], block.taps.weight[:, :, 1]], 1).T.contiguous() for block in blocks
        ]
        self._tap_bias = [
            _bias(block.taps)
            if block.condition is None or condition is None
            else _bias(block.taps) + block.condition(condition)
            for block in blocks
        ]
        # The last block passes nothing on.
        residuals = [block.residual for block in blocks if block.residual is not None]
        self._residual = [layer.weight[:, :, 0].T.contiguous() for layer in residuals]
        self._residual_bias = [_bias(layer) for layer in residuals]
        # All skips are one product with everything that the gates let through.
        self._skip = torch.cat([block.skip.weight[:, :, 0] for block in blocks], dim=1).T.contiguous()
        self._skip_bias = torch.stack([_bias(block.skip) for block in blocks]).sum(dim=0)
        _, first, _, last = model.head
        assert isinstance(first, torch.nn.Conv1d)
        assert isinstance(last, torch.nn.Conv1d)
        self._head = [(layer.weight[:, :, 0].T.contiguous(), _bias(layer)) for layer in (first, last)]
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
                stream = stream + torch.addmm(self._residual_bias[number], gated, self._residual[number])
        self._at += 1
        output = torch.addmm(self._skip_bias, torch.cat(passed, dim=1), self._skip)
        for weight, bias in self._head:
            output = torch.addmm(bias, output.relu(), weight)
        return output


def _bias(layer: torch.nn.Conv1d) -> Tensor:
    assert layer.bias is not None
    return layer.bias.detach()
