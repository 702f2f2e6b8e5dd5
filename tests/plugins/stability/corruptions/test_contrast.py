"""What stands beside what: the clean example, the damaged one, and the change."""

import io

import numpy as np
import torch
from PIL import Image

from steelyard_stability.corruptions._contrast import contrasted, overheard


def panels(png: bytes) -> list[list[float]]:
    """The colour in the middle of each third of a picture's lower half."""
    seen = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float) / 255
    middle = seen[int(0.6 * len(seen))]
    return [middle[int(place * len(middle))].round(2).tolist() for place in (1 / 6, 1 / 2, 5 / 6)]


def test_each_row_holds_the_clean_picture_the_damaged_one_and_what_became_brighter() -> None:
    black, white = torch.zeros(1, 1, 6, 6), torch.ones(1, 1, 6, 6)

    clean, damaged, change = panels(contrasted(black, white, before=["a"], after=["b"], bounds=(0, 1)))

    assert (clean, damaged) == ([0.0] * 3, [1.0] * 3)
    assert change[0] > 0.3 > change[2]
    *_, change = panels(contrasted(white, black, before=["a"], after=["b"], bounds=(0, 1)))
    assert change[2] > 0.3 > change[0]


def test_colours_are_shown_and_what_lies_beyond_them_is_not() -> None:
    red = torch.tensor([1.0, 0, 0, 1])[None, :, None, None].expand(1, 4, 5, 7)

    clean, _, change = panels(contrasted(red, red, before=["a"], after=["b"], bounds=None))

    assert clean == [1.0, 0.0, 0.0]
    assert min(change) > 0.9


def test_silence_and_a_few_samples_are_drawn() -> None:
    for length, rate in ((400, 8000), (3, None)):
        sounds = torch.zeros(2, length)
        assert overheard(sounds, sounds, before=["a", "b"], after=["c", "d"], rate=rate).startswith(b"\x89PNG")
