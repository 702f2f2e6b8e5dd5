"""What typists, scanners and prompts do to a text, in English and Chinese: pure functions of a text and a stream.

Each kind edits at most a share of the words, never the protected ones, and gives the text back unchanged where there is
nothing that it could edit.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from steelyard_stability.corruptions._letters import (
    CHINESE_SOUNDS,
    HOMOPHONES,
    LOOK_ALIKES,
    NEIGHBOURS,
    SHAPES,
    WIDTHS,
)
from steelyard_stability.corruptions._spans import WORD, Span, free, is_han, words

Stream = np.random.Generator
Choice = TypeVar("Choice")
Edit = Callable[[str, Stream], str | None]
"""A word with what follows it -> another one, or None where nothing can be done."""

SHARES = (0.1, 0.2, 0.4, 0.6, 1.0)
"""Of the edit budget, by severity."""
MARKS = re.compile(r"(?<!\w)[^\w\s]+|[^\w\s](?!\w)")
"""Marks that do not stand inside a word or number."""
OPTION = re.compile(
    r"(?P<label>\(?[A-H1-9][).\u3001\uff0e:]\s*)(?P<body>.+?)(?=\s+\(?[A-H1-9][).\u3001\uff0e:]\s*|\n|$)"
)
TEMPLATES = (
    "Text: {text}",
    '"{text}"',
    "Here is what somebody wrote. {text}",
    "{text} (end of the text)",
    "### Input\n{text}\n### End",
)
CHINESE_TEMPLATES = (
    "文本\uff1a{text}",
    "\u201c{text}\u201d",
    "下面是一段话。{text}",
    "{text}\uff08完\uff09",
    "\u3010输入\u3011\n{text}\n\u3010结束\u3011",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for every text.

    Attributes:
        budget: Largest share of the words that is edited, at severity 5.
        protected: Words that are never edited, beside numbers, negations and names.
        templates: With {text} in them, for severity 1 and on; none for those of this module.
    """

    budget: float = 0.5
    protected: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


def keyboard(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """A letter is hit beside its key, twice, not at all, or too early."""
    return _edited(text, _mistyped, severity, stream, rules)


def ocr(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """A letter or character is read as one that looks like it."""

    def misread(word: str, stream: Stream) -> str | None:
        return _swapped(word, {**SHAPES, **LOOK_ALIKES}, stream)

    return _edited(text, misread, severity, stream, rules)


def case(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """Words in capitals, without them, or with the wrong ones."""

    def recased(word: str, stream: Stream) -> str | None:
        found = [one for one in (word.upper(), word.lower(), word.swapcase(), word.title()) if one != word]
        return _one(found, stream)

    return _edited(text, recased, severity, stream, rules)


def white_space(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """Spaces too many or too few, between words and inside them."""
    spans = free(text, words(text), protected=rules.protected)
    gaps = [(left, right) for left, right in pairwise(words(text)) if text[left.end : right.start].isspace()]
    loose = {left.end: right for left, right in gaps}
    editable = {*spans}

    def respaced(span: Span) -> tuple[Span, str] | None:
        word = text[span.start : span.end]
        choices = [(span, f"{word[:at]} {word[at:]}") for at in range(1, len(word))][:8]
        if span.end in loose:
            following = loose[span.end]
            gap = Span(span.end, following.start)
            choices.append((gap, "  "))
            # Glued to a name or a negation, a word would hide it.
            if following in editable:
                choices.append((gap, ""))
        elif len(word) == 1 and not word.isascii():
            choices.append((span, f"{word} "))
        return _one(choices, stream)

    return _replaced(text, [respaced(span) for span in _chosen(text, spans, severity, stream, rules)])


def punctuation(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """Marks lost, doubled, of the other width, or added after a word."""
    spans = free(text, words(text), protected=rules.protected)
    ends = {span.end for span in spans}
    marks = [Span(*found.span()) for found in MARKS.finditer(text)]
    places = marks + [Span(end, end) for end in sorted(ends - {mark.start for mark in marks})]
    widths = {**WIDTHS, **{wide: narrow for narrow, wide in WIDTHS.items()}}

    def remarked(span: Span) -> tuple[Span, str] | None:
        mark = text[span.start : span.end]
        if not mark:
            return span, "\uff0c" if is_han(text) else ","
        choices: list[str] = ["", mark + mark, *([widths[mark]] if mark in widths else [])]
        return span, _one(choices, stream) or ""

    return _replaced(text, [remarked(span) for span in _chosen(text, places, severity, stream, rules)])


def homophones(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """A word becomes another one that sounds alike."""

    def misheard(word: str, stream: Stream) -> str | None:
        if word in CHINESE_SOUNDS:
            return _one([*CHINESE_SOUNDS[word]], stream)
        found = _one(HOMOPHONES.get(word.lower(), ()), stream)
        return found.capitalize() if found and word[0].isupper() else found

    return _edited(text, misheard, severity, stream, rules)


def option_order(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """The options of a question in another order; each keeps its letter, so that the right answer stays the same."""
    del severity, rules
    found = [*OPTION.finditer(text)]
    if len(found) < 2:
        return text
    order = [*map(int, stream.permutation(len(found)))]
    if order == sorted(order):
        order = [*order[1:], order[0]]
    moved = [found[at].group() for at in order]
    return _replaced(text, [(Span(*old.span()), new) for old, new in zip(found, moved, strict=True)])


def template(text: str, severity: int, stream: Stream, rules: Rules) -> str:
    """The text stands in a frame that says nothing about it."""
    del stream
    known = rules.templates or (CHINESE_TEMPLATES if is_han(text) else TEMPLATES)
    return known[(severity - 1) % len(known)].replace("{text}", text)


KINDS: dict[str, Callable[[str, int, Stream, Rules], str]] = {
    one.__name__: one for one in (keyboard, ocr, case, white_space, punctuation, homophones, option_order, template)
}


def allowed(text: str, severity: int, rules: Rules) -> int:
    """Words that may be edited: a share of all, at least one."""
    return max(1, int(rules.budget * SHARES[severity - 1] * len(WORD.findall(text))))


def _chosen(text: str, spans: Sequence[Span], severity: int, stream: Stream, rules: Rules) -> list[Span]:
    order = stream.permutation(len(spans))[: allowed(text, severity, rules)]
    return [spans[int(at)] for at in order]


def _edited(text: str, edit: Edit, severity: int, stream: Stream, rules: Rules) -> str:
    spans = free(text, words(text), protected=rules.protected)
    most = allowed(text, severity, rules)
    edits: list[tuple[Span, str]] = []
    for at in stream.permutation(len(spans)):
        span = spans[int(at)]
        new = edit(text[span.start : span.end], stream)
        if new is not None:
            edits.append((span, new))
        if len(edits) == most:
            break
    return _replaced(text, edits)


def _replaced(text: str, edits: Sequence[tuple[Span, str] | None]) -> str:
    for span, new in sorted((edit for edit in edits if edit is not None), key=lambda edit: -edit[0].start):
        text = text[: span.start] + new + text[span.end :]
    return text


def _mistyped(word: str, stream: Stream) -> str | None:
    places = [at for at, letter in enumerate(word) if letter.lower() in NEIGHBOURS]
    if len(word) < 2 or not places:
        return None
    at = places[int(stream.integers(len(places)))]
    letter = word[at]
    beside = _one([*NEIGHBOURS[letter.lower()]], stream) or letter
    beside = beside.upper() if letter.isupper() else beside
    wrong = [word[:at] + beside + word[at + 1 :], word[:at] + letter + word[at:], word[:at] + word[at + 1 :]]
    if at + 1 < len(word) and word[at + 1] != letter:
        wrong.append(word[:at] + word[at + 1] + letter + word[at + 2 :])
    return _one(wrong, stream)


def _swapped(word: str, table: dict[str, str], stream: Stream) -> str | None:
    places = [at for at, letter in enumerate(word) if letter in table]
    if not places:
        return None
    at = places[int(stream.integers(len(places)))]
    # A Chinese character has several look-alikes of one character each; a letter has one, of one or two letters.
    new = _one([*table[word[at]]], stream) if word[at] in SHAPES else table[word[at]]
    return word[:at] + (new or "") + word[at + 1 :]


def _one(choices: Sequence[Choice], stream: Stream) -> Choice | None:
    return choices[int(stream.integers(len(choices)))] if choices else None
