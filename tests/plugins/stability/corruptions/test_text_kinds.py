import re

import numpy as np
import pytest

from steelyard_stability.corruptions import _text
from steelyard_stability.corruptions._letters import HOMOPHONES, NEIGHBOURS, SHAPES
from steelyard_stability.corruptions._spans import WORD, free, is_han, words
from steelyard_stability.corruptions._text import KINDS, Rules, allowed
from steelyard_stability.corruptions.kinds import KINDS as NAMES

ENGLISH = (
    "The plot was not great, but Anna Weaver gave a fine performance in 1999; here and there it drags. I loved it!"
)
CHINESE = "这部电影的情节没有意思，但是他在第三集里的表演很好。我在《未来》看到了他！"
ODD = [
    "",
    " ",
    "\n",
    "😀😀",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 ok",
    "a",
    "我",
    "...",
    "e\u0301te\u0301",
    "\u202emirror",
    "A" * 300,
]


def told(kind: str, text: str, severity: int = 5, *, seed: int = 0, rules: Rules | None = None) -> str:
    return KINDS[kind](text, severity, np.random.default_rng(seed), rules or Rules())


def distance(one: str, other: str) -> int:
    """Edits of words (Levenshtein)."""
    a, b = WORD.findall(one), WORD.findall(other)
    row = [*range(len(b) + 1)]
    for i, left in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (left != right))
    return row[-1]


def test_the_names_are_those_of_the_functions() -> None:
    assert tuple(KINDS) == NAMES["text"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_handled(kind: str, text: str) -> None:
    for seed in range(5):
        assert isinstance(told(kind, text, seed=seed), str)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_streams_give_equal_texts(kind: str) -> None:
    assert told(kind, ENGLISH, seed=3) == told(kind, ENGLISH, seed=3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("option_order", "template")])
@pytest.mark.parametrize("seed", range(20))
def test_numbers_negations_and_names_are_kept(kind: str, seed: int) -> None:
    english, chinese = told(kind, ENGLISH, seed=seed), told(kind, CHINESE, seed=seed)

    for word in ("not", "Anna", "Weaver", "1999"):
        assert re.search(rf"\b{word}\b", english), english
    for word in ("没", "三", "《未来》"):
        assert word in chinese, chinese


@pytest.mark.parametrize("kind", ["keyboard", "ocr", "case", "homophones"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_the_budget_holds(kind: str, severity: int) -> None:
    for seed in range(10):
        rules = Rules(budget=0.4)
        assert distance(ENGLISH, told(kind, ENGLISH, severity, seed=seed, rules=rules)) <= allowed(
            ENGLISH, severity, rules
        )
    assert allowed(ENGLISH, 5, Rules(budget=0.4)) == int(0.4 * len(words(ENGLISH)))


def test_the_user_protects_words() -> None:
    rules = Rules(budget=1.0, protected=("plot", "fine performance"))

    for seed in range(20):
        found = told("keyboard", ENGLISH, seed=seed, rules=rules)
        assert "plot" in found
        assert "fine performance" in found


@pytest.mark.parametrize("kind", ["keyboard", "ocr", "case", "white_space", "punctuation", "homophones", "template"])
def test_every_kind_changes_english(kind: str) -> None:
    assert told(kind, ENGLISH) != ENGLISH


@pytest.mark.parametrize("kind", ["ocr", "white_space", "punctuation", "homophones", "template"])
def test_what_can_happen_to_chinese_does(kind: str) -> None:
    assert told(kind, CHINESE) != CHINESE


@pytest.mark.parametrize("kind", ["keyboard", "case"])
def test_chinese_has_no_letters_and_no_capitals(kind: str) -> None:
    assert told(kind, CHINESE) == CHINESE


def test_a_slip_of_the_finger_is_one_edit_of_a_letter() -> None:
    for seed in range(200):
        found = _text._mistyped("performance", np.random.default_rng(seed))
        assert found is not None
        assert abs(len(found) - 11) <= 1
        if len(found) == 11 and sorted(found) != sorted("performance"):
            ((old, new),) = [(a, b) for a, b in zip("performance", found, strict=True) if a != b]
            assert new in NEIGHBOURS[old]


def test_neighbours_touch_each_other() -> None:
    assert set(NEIGHBOURS["g"]) == set("fhtyvb")
    assert all(letter in NEIGHBOURS[other] for letter, others in NEIGHBOURS.items() for other in others)


def test_tables_are_symmetric() -> None:
    assert all(letter in SHAPES[other] for letter, others in SHAPES.items() for other in others)
    assert all(word in HOMOPHONES[other] for word, others in HOMOPHONES.items() for other in others)


def test_case_changes_nothing_but_case() -> None:
    assert told("case", ENGLISH).lower() == ENGLISH.lower()


def test_white_space_changes_nothing_but_space() -> None:
    for seed in range(10):
        for text in (ENGLISH, CHINESE):
            assert "".join(told("white_space", text, seed=seed).split()) == "".join(text.split())


def test_punctuation_leaves_the_words() -> None:
    for seed in range(10):
        assert WORD.findall(told("punctuation", ENGLISH, seed=seed)) == WORD.findall(ENGLISH)


QUESTION = "Which is a fruit?\nA) apple\nB) stone\nC) car"


def test_options_keep_their_letters() -> None:
    found = told("option_order", QUESTION)

    assert found != QUESTION
    assert found.startswith("Which is a fruit?\n")
    assert sorted(found.split("\n")) == sorted(QUESTION.split("\n"))
    assert told("option_order", ENGLISH) == ENGLISH


def test_options_in_one_line() -> None:
    found = told("option_order", "Pick: (A) red (B) green (C) blue")

    assert found != "Pick: (A) red (B) green (C) blue"
    assert all(option in found for option in ("(A) red", "(B) green", "(C) blue"))


def test_templates_are_taken_in_turn() -> None:
    rules = Rules(templates=("<{text}>", "[{text}]"))

    assert [told("template", "x {y}", severity, rules=rules) for severity in (1, 2, 3)] == [
        "<x {y}>",
        "[x {y}]",
        "<x {y}>",
    ]
    assert ENGLISH in told("template", ENGLISH)
    assert "文本" in told("template", CHINESE, 1)


def test_names_are_capitals_inside_a_sentence() -> None:
    spans = words("Old Tom saw it. Then Mary left, didn't she? Visit www.a.com now")

    loose = [
        ("Old Tom saw it. Then Mary left, didn't she? Visit www.a.com now")[one.start : one.end]
        for one in free("Old Tom saw it. Then Mary left, didn't she? Visit www.a.com now", spans)
    ]
    assert loose == ["Old", "saw", "it", "Then", "left", "she", "Visit", "now"]


def test_which_script_a_text_is_in() -> None:
    assert is_han(CHINESE)
    assert not is_han(ENGLISH)
    assert not is_han("")
