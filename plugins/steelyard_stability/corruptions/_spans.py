"""Where the words of a text are, and which of them must not be touched: English and Chinese."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{HAN}]|[^\W{HAN}]+(?:['\u2019\-][^\W{HAN}]+)*")
"""A Chinese character, or a run of letters and digits with apostrophes and hyphens inside."""
PLACE = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+|[@#]\w+", re.IGNORECASE)
"""An address or a handle."""
SENTENCE_ENDS = '.!?\u3002\uff01\uff1f\n:"\u201c'
NEGATIONS = frozenset(
    {
        "no",
        "not",
        "nor",
        "never",
        "none",
        "nobody",
        "nothing",
        "nowhere",
        "neither",
        "cannot",
        "without",
        "hardly",
        "scarcely",
        "barely",
        "unless",
        "except",
    }
)
CHINESE_NEGATIONS = frozenset("不没沒無无未非别別勿莫毋否")
CHINESE_NUMBERS = frozenset("零〇一二三四五六七八九十百千万萬亿億两兩半")


@dataclass(frozen=True, slots=True)
class Span:
    """A word of a text.

    Attributes:
        start: Its first character.
        end: The first one after it.
    """

    start: int
    end: int


def words(text: str) -> list[Span]:
    """All words, in order."""
    return [Span(*found.span()) for found in WORD.finditer(text)]


def free(text: str, spans: Sequence[Span], *, protected: Sequence[str] = ()) -> list[Span]:
    """The words that may be edited: no numbers, negations, names, addresses, and nothing that the user protects.

    A name is a capitalised word that begins no sentence. Chinese writes names like any other word: those are protected
    only where the user lists them, or where they stand in the marks of a title.
    """
    closed = [Span(*found.span()) for found in PLACE.finditer(text)]
    closed += [Span(*found.span()) for found in re.finditer("\u300a[^\u300b]*\u300b", text)]
    for word in protected:
        closed += [Span(*found.span()) for found in re.finditer(re.escape(word), text, re.IGNORECASE)] if word else []
    return [
        span
        for span in spans
        if not _means_much(text, span)
        and not any(span.start < other.end and other.start < span.end for other in closed)
    ]


def is_han(text: str) -> bool:
    """Whether a text is mainly Chinese."""
    found = WORD.findall(text)
    return bool(found) and 2 * sum(bool(re.fullmatch(f"[{HAN}]", word)) for word in found) > len(found)


def _means_much(text: str, span: Span) -> bool:
    word = text[span.start : span.end]
    plain = word.lower().replace("\u2019", "'")
    if any(letter.isdigit() for letter in word) or word in CHINESE_NUMBERS or word in CHINESE_NEGATIONS:
        return True
    if plain in NEGATIONS or plain.endswith("n't"):
        return True
    return word[0].isupper() and not _begins(text, span.start)


def _begins(text: str, place: int) -> bool:
    before = text[:place].rstrip(" \t'(\u2018\uff08")
    return not before or before[-1] in SENTENCE_ENDS
