# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `compute=optimizer_8bit`."""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard_compute._moments import Packed, pack, packed_zeros, unpack
from steelyard_compute.optimizer_8bit import Optimizer8bit

MIB = 1024 * 1024
PARTS, SMALLEST_PART = 8, 2**18
"""A weight is updated in as many parts, but for smaller ones: more would take less memory, but a plan, which goes
through each, longer."""
REFUSED = ("amsgrad", "maximize", "differentiable", "capturable")


@dataclass(slots=True)
class Moments:
    """Of one weight.

    Attributes:
        steps: Updates so far.
        first: Mean gradient.
        second: Root of the mean squared gradient.
    """

    steps: int
    first: Packed
    second: Packed


@final
class Optimizer8bitAttachment(Attachment):
    """Takes over the step of Adam for large weights.

    Args:
        plugin: The settings.
        seed: Of the rounding; each step draws from it and its own number, so that a resumed run rounds alike.
    """

    def __init__(self, plugin: Optimizer8bit, *, seed: int) -> None:
        self._plugin = plugin
        self._seed = seed
        self._weights: list[Tensor] = []
        self._moments: dict[int, Moments] = {}
        self._small = 0

    def state_dict(self) -> dict[str, Any]:
        """The moments, by the number of their weight."""
        return {
            str(number): {
                "steps": found.steps,
                "first": (found.first.levels, found.first.scales),
                "second": (found.second.levels, found.second.scales),
            }
            for number, found in self._moments.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._moments = {
            int(number): Moments(kept["steps"], Packed(*kept["first"]), Packed(*kept["second"]))
            for number, kept in state_dict.items()
        }

    def wrap(self, made: Any) -> Any:
        """What `configure_optimizers` gave, with the steps of its optimizers taken over."""
        found = [*_optimizers(made)]
        if not found:
            raise refuse("the task has no optimizer", fix="compute=cost")
        for optimizer in found:
            self._take_over(optimizer)
        return made

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The memory of the moments, and what 32 bits would take."""
        meaning = "memory of the optimizer's moments for the large weights"
        if not run.trained or not self._moments:
            why = "no weight was large enough" if run.trained else "there was no training in this run"
            yield Measurement(name="state_size", status=Status.SKIPPED, unit="MiB", note=why, meaning=meaning)
            return
        size = sum(found.first.bytes + found.second.bytes for found in self._moments.values())
        whole = 8 * sum(self._weights[number].numel() for number in self._moments)
        yield Measurement(
            name="state_size",
            value=size / MIB,
            better=Better.LOWER,
            unit="MiB",
            count=len(self._moments),
            note=f"{whole / MIB:.4g} MiB in 32 bits; {self._small} small weights keep 32 bits and are not in it",
            meaning=meaning,
        )

    def _take_over(self, optimizer: Optimizer) -> None:
        if type(optimizer) not in (Adam, AdamW):
            message = f"8 bits are for Adam and AdamW, and the task trains with {type(optimizer).__name__}"
            raise refuse(message, fix="optimizer=adamw")
        settings = [name for name in REFUSED if any(group.get(name) for group in optimizer.param_groups)]
        if settings:
            raise refuse(f"8 bits do not go with {', '.join(settings)} of the optimizer", fix="optimizer=adamw")
        large: dict[int, Tensor] = {}
        for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
            if weight.numel() >= self._plugin.least:
                large[len(self._weights)] = weight
                self._weights.append(weight)
            else:
                self._small += 1
        rest, decoupled = optimizer.step, type(optimizer) is AdamW

        # The marks that learning rate schedules put on the method go along.
        @functools.wraps(rest)
        def step(closure: Any = None) -> Any:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            gradients = {number: weight.grad for number, weight in large.items()}
            self._update(optimizer.param_groups, large, decoupled=decoupled)
            for weight in large.values():
                # Torch passes over weights without a gradient.
                weight.grad = None
            try:
                rest()
            finally:
                for number, weight in large.items():
                    weight.grad = gradients[number]
            return loss

        optimizer.step = step  # the public method, on this instance

    @torch.no_grad()
    def _update(self, groups: list[dict[str, Any]], large: Mapping[int, Tensor], *, decoupled: bool) -> None:
        places = {id(weight): group for group in groups for weight in group["params"]}
        for number, weight in large.items():
            if weight.grad is not None:
                self._update_one(number, weight, weight.grad, places[id(weight)], decoupled=decoupled)

    def _update_one(
        self, number: int, weight: Tensor, gradient: Tensor, group: Mapping[str, Any], *, decoupled: bool
    ) -> None:
        """A part of the blocks at a time: what is unpacked takes a small share of what the weight does."""
        block, count = self._plugin.block, weight.numel()
        moments = self._moments.get(number)
        if moments is None:
            first = packed_zeros(count, block=block, signed=True, device=weight.device)
            second = packed_zeros(count, block=block, signed=False, device=weight.device)
            moments = self._moments[number] = Moments(0, first, second)
        # Those of a checkpoint lie on the CPU.
        moments.first, moments.second = moments.first.to(weight.device), moments.second.to(weight.device)
        moments.steps += 1
        generator = torch.Generator(weight.device).manual_seed(hash((self._seed, number, moments.steps)) % 2**63)
        # Views, unless the weight lies in an order of its own.
        flat, towards = weight.flatten(), gradient.flatten()
        blocks = -(-max(SMALLEST_PART, -(-count // PARTS)) // block)
        for start in range(0, len(moments.first.levels), blocks):
            part = slice(start, start + blocks)
            numbers = slice(start * block, (start + blocks) * block)
            chosen = Moments(moments.steps, moments.first.part(part), moments.second.part(part))
            _adam(flat[numbers], towards[numbers].float(), chosen, group, decoupled=decoupled, generator=generator)
        if not weight.is_contiguous():
            weight.copy_(flat.view_as(weight))


def _adam(
    weights: Tensor,
    gradients: Tensor,
    moments: Moments,
    group: Mapping[str, Any],
    *,
    decoupled: bool,
    generator: torch.Generator,
) -> None:
    """A step of Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019) in place, moments included."""
    rate, decay, steps = float(group["lr"]), float(group["weight_decay"]), moments.steps
    one, two = (float(beta) for beta in group["betas"])
    if decay and decoupled:
        weights.mul_(1 - rate * decay)
    elif decay:
        gradients = gradients + decay * weights.float()
    block = moments.first.levels.shape[1]
    first = unpack(moments.first, weights.shape).lerp_(gradients, 1 - one)
    second = unpack(moments.second, weights.shape).square_()
    root = second.mul_(two).addcmul_(gradients, gradients, value=1 - two).sqrt_()
    moments.first.overwrite(pack(first, block=block, signed=True, generator=generator))
    moments.second.overwrite(pack(root, block=block, signed=False, generator=generator))
    spread = root.div_(math.sqrt(1 - two**steps)).add_(float(group["eps"]))
    weights.sub_((first / spread).mul_(rate / (1 - one**steps)).to(weights.dtype))


def _optimizers(made: Any) -> Iterator[Optimizer]:
    """Every optimizer in what `configure_optimizers` may give."""
    if isinstance(made, Optimizer):
        yield made
    elif is_mapping(made):
        yield from _optimizers(made.get("optimizer"))
    elif is_sequence(made):
        for part in made:
            yield from _optimizers(part)
