# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Letters that can be drawn: matplotlib warns of every other one, and would leave it out."""

import unicodedata
from functools import cache
from typing import Any

from matplotlib import font_manager

MONO, SANS = "DejaVu Sans Mono", "DejaVu Sans"
"""What matplotlib brings along."""
INSTALLED = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai")
"""Used where the machine has them."""
UNKNOWN = "\N{WHITE VERTICAL RECTANGLE}"
"""Stands for a letter that no font here has."""


@cache
def families(first: str = SANS) -> tuple[str, ...]:
    """The fonts of this machine that are asked for a letter, one after the other."""
    there = {*font_manager.get_font_names()}
    return (first, *{MONO, SANS} - {first}, *(name for name in INSTALLED if name in there))


def drawable(text: str) -> str:
    """The text with every letter that cannot be drawn replaced; line breaks stay."""
    known = _known()
    return "".join(
        letter if letter == "\n" or (ord(letter) in known and letter.isprintable()) else _instead(letter)
        for letter in text
    )


def cells(text: str) -> int:
    """How many letters of one width a text takes: wide ones count twice, marks upon others not at all."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _instead(letter: str) -> str:
    # Joiners and marks of direction and style stand for nothing by themselves.
    return "" if unicodedata.category(letter) in ("Cf", "Mn") else " " if letter.isspace() else UNKNOWN


@cache
def _known() -> frozenset[int]:
    found: set[int] = set()
    for family in families():
        font: Any = font_manager.get_font(font_manager.findfont(family, fallback_to_default=False))
        found |= font.get_charmap().keys()
    return frozenset(found)
