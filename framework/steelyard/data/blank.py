"""Rows without a text: refused, or left out."""

from collections.abc import Iterable
from typing import Literal, get_args

from steelyard.problem import refuse

Empty = Literal["refuse", "drop"]


def check_empty(value: Empty) -> Empty:
    """The option `data.empty`.

    Raises:
        Refused: If it is neither.
    """
    if value not in get_args(Empty):
        raise refuse(f"data.empty is {value!r}, must be refuse or drop", fix="data.empty=drop")
    return value


def written(texts: Iterable[tuple[str, str]], *, empty: Empty) -> list[int]:
    """Places, from 0 on, of the rows that have a text.

    Args:
        texts: The place of each row, for messages, and its text.
        empty: What becomes of a row whose text has nothing but white space.

    Raises:
        Refused: If one shall not be left out, or there is no other.
    """
    kept: list[int] = []
    where = ""
    for at, (where, text) in enumerate(texts):
        if text.strip():
            kept.append(at)
        elif empty == "refuse":
            raise refuse(f"{where}: the text is empty", fix="data.empty=drop")
    if not kept:
        raise refuse(f"{where}: the text is empty, and so are all others", fix="data.text_column=...")
    return kept
