"""Who speaks: espeak-ng's English accents in many voice variants, speeds and pitches."""

from dataclasses import dataclass

import torch

ACCENTS = (
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
VARIANTS = (
    *("m1", "f1", "klatt", "Andy", "croak", "f2", "m2", "Annie", "steph", "Alex", "whisper", "m3", "max"),
    *("f3", "klatt2", "Michael", "belinda", "m4", "grandpa", "Alicia", "edward", "f4", "Gene", "john", "m5", "klatt3"),
    *("aunty", "Lee", "paul", "f5", "Hugo", "whisperf", "m6", "Andrea", "rob", "klatt4", "m7", "grandma"),
    *("david", "Jacky", "m8", "boris", "shelby", "Mario", "adam", "anika"),
)
"""Long part of espeak-ng; the first ones are already as different as its voices get."""
SPEEDS = (130, 200)
"""Words a minute, from and to."""
PITCHES = (25, 75)
"""Of espeak-ng's scale from 0 to 99, from and to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """One made-up person.

    Attributes:
        accent: A voice of espeak-ng.
        variant: What changes its timbre.
        speed: Words a minute.
        pitch: 0 to 99.
    """

    accent: str
    variant: str
    speed: int
    pitch: int


def speakers(*, variants: int, each: int) -> list[Speaker]:
    """`each` speakers of every one of the first `variants` voice variants; always the same ones."""
    drawing = torch.Generator().manual_seed(8)

    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=drawing))

    return [
        Speaker(
            accent=ACCENTS[drawn(0, len(ACCENTS) - 1)], variant=variant, speed=drawn(*SPEEDS), pitch=drawn(*PITCHES)
        )
        for variant in VARIANTS[:variants]
        for _ in range(each)
    ]
