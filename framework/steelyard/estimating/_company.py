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
    **{32: 81, 48: 105, 64: 89, 80: 37, 96: 25, 112: 27, 128: 13, 144: 1, 192: 3, 208: 4, 224: 2, 256: 1, 272: 3},
    **{288: 2, 320: 1, 336: 7, 368: 1, 384: 1, 400: 11, 416: 6, 432: 24, 448: 21, 464: 1, 480: 1, 496: 9, 512: 28},
    **{528: 2, 544: 2, 560: 1, 576: 1, 592: 1, 640: 1, 768: 2, 784: 4, 816: 1, 832: 13, 864: 5, 880: 3, 944: 1},
    **{960: 1, 1328: 1, 1808: 1, 1920: 1, 2032: 2, 2160: 2, 2272: 1, 2880: 1, 3072: 1, 3248: 3, 6448: 1, 8320: 1},
    **{9520: 1, 22896: 1, 38368: 1, 59328: 3},
}
"""Bytes of the holes up to 64 KiB that the heap of a run has when training begins, and how many there are of each, as
glibc's `malloc_info` told before the training of a CNN: small objects find room there, and not beside the tensors."""
