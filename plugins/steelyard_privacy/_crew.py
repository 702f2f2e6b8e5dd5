# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Private training over several processes: one draw, one sum and one noise for all of them.

All ranks draw the same batch and each takes its part of it; the clipped gradients are added up over the ranks once; and
all add the same noise to the same sum. What is released is what one process would release. DDP's own reduction waits
for gradients that come from a backward pass through the weights, of which there are none here.
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

SECRET = 16
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes that train together.

    Attributes:
        number: Of this process, from 0.
        count: How many there are.
    """

    number: int = 0
    count: int = 1

    def secret(self) -> bytes:
        """Fresh entropy of the operating system, the same in all processes and in no other run."""
        drawn: list[bytes] = [os.urandom(SECRET)]
        if self.count > 1:
            distributed.broadcast_object_list(drawn, src=0)
        return drawn[0]

    def add_up(self, tensor: Tensor) -> None:
        """Puts the sum over all processes in its place."""
        if self.count > 1:
            distributed.all_reduce(tensor)

    def counted(self, *numbers: int, device: torch.device) -> tuple[int, ...]:
        """Each number, added up over all processes."""
        if self.count == 1:
            return numbers
        together = torch.tensor(numbers, device=device)
        self.add_up(together)
        return tuple(int(number) for number in together)


def crew() -> Crew:
    """The processes of which this is one."""
    if distributed.is_available() and distributed.is_initialized():
        return Crew(distributed.get_rank(), distributed.get_world_size())
    return Crew()
