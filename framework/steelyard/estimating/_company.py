"""The small objects that come with every tensor, and keep the memory beside it from becoming one hole.

Plain requests of up to 1 KiB, as they came in a step of a GPT and of a T5 (torch 2.13.0, Lightning 2.6), logged by a
library put before malloc: the tensor, its views and lists of sizes, and in a forward pass the nodes of the graph, most
of which stay to the end of the backward pass. A few patterns stand for all that were seen; which tensor has which is
drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

BEFORE = 96
"""Bytes of what holds the tensor's memory; it is made before it."""
STAYS = 0.8
"""Share of the nodes of the graph that live to the end of the backward pass; the others go with the tensor."""


class Moment(StrEnum):
    """When a tensor is made; what is taken and given back inside of an operation is none."""

    FORWARD = "forward"
    BACKWARD = "backward"
    REST = "rest"
    PASSING = "passing"


@dataclass(frozen=True, slots=True)
class Company:
    """Bytes of each small object that is made after a tensor.

    Attributes:
        own: Freed with it.
        graph: Nodes, and what they hold.
    """

    own: Sequence[int]
    graph: Sequence[int] = ()


_TENSOR, _TRAINED, _VIEW, _NODE = (176, 24), (176, 24, 184), (176, 312), (488, 16, 24)
_PRODUCT = (464, 472, 16, *_VIEW, 800, 472, 64, 16, 16, 16, 16)
_SPLIT = (480, 16, *_VIEW, 536, 16, 32, *_VIEW, 536, 16, 32, *_VIEW, 640, 32)
_COPIED = Company((4, 8, 24, 24, 24, 176, 176, 176))
_CUT = Company((8, 16, 24, 24, 24, 48, 64, 64, 64, 104, 104, 176, 176, 312, 512))

PLAIN = Company(_TENSOR)
"""Of a tensor that has none but what it is."""
COMPANIES: Mapping[Moment, Sequence[Company]] = {
    Moment.FORWARD: (
        Company(_TENSOR),
        Company(_TENSOR, (640, 32)),
        Company(_TRAINED, (16, 32)),
        Company(_TRAINED, (16, 32)),
        Company(_TRAINED, (512, 32)),
        Company((*_TRAINED, 8), (888, 472, 472, 64, 8)),
        Company((*_TRAINED, *_VIEW), (*_NODE, 488, 16, 32)),
        Company((*_TRAINED, *_VIEW, 64, 104), (464, 16, 480, 16, 24)),
        Company((*_TENSOR, *_VIEW, *_TENSOR), (184, *_NODE, *_VIEW, *_PRODUCT)),
        Company((*_TRAINED, *_VIEW), (*_NODE, *_SPLIT)),
    ),
    Moment.BACKWARD: (*[Company(_TENSOR)] * 5, *[_COPIED] * 2, *[_CUT] * 3),
    Moment.REST: (Company(_TENSOR),),
    Moment.PASSING: (Company(()),),
}
"""Each as often as it stands here."""

HOLES: Mapping[int, int] = {
    **{32: 23, 48: 164, 64: 72, 80: 19, 96: 26, 112: 1, 128: 6, 192: 2, 208: 3, 240: 2, 352: 1, 400: 7, 416: 22},
    **{432: 16, 448: 15, 464: 17, 480: 2, 496: 6, 512: 1, 640: 1, 656: 1, 688: 1, 784: 1, 816: 1, 832: 8, 2208: 1},
    **{2512: 1, 2704: 1, 2896: 2, 3152: 1, 5344: 2, 5760: 1, 7408: 1, 13104: 1},
}
"""Bytes of the holes up to 64 KiB that the heap of a run has when training begins, and how many there are of each, as
glibc's `malloc_info` told before the training of a CNN: small objects find room there, and not beside the tensors."""
