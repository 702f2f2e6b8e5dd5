"""Which keys move a score, held against functions whose answer is known."""

import numpy as np
import pytest

from steelyard.trials.importance import importance


def drawn(count: int, seed: int = 0) -> list[list[str]]:
    random = np.random.default_rng(seed)
    return [
        [repr(float(random.uniform())), repr(float(random.uniform())), str(random.choice(["x", "y", "z"])), "same"]
        for _ in range(count)
    ]


KEYS = ("a", "b", "word", "fixed")


def test_an_additive_score_is_shared_out_by_variance() -> None:
    rows = drawn(300)
    scores = [3 * float(row[0]) + float(row[1]) for row in rows]
    found = importance(rows, KEYS, scores)
    assert found == importance(rows, KEYS, scores)
    assert found is not None
    # Var(3a) : Var(b) = 9 : 1, and the word has nothing to do with it.
    assert list(found.shares)[:2] == ["a", "b"]
    assert found.shares["a"] == pytest.approx(0.9, abs=0.1)
    assert found.shares["b"] == pytest.approx(0.1, abs=0.05)
    assert abs(found.shares["word"]) < 0.01
    assert "fixed" not in found.shares
    assert found.explained > 0.9
    assert found.count == 300


def test_words_are_shuffled_whole() -> None:
    rows = drawn(150)
    found = importance(rows, KEYS, [{"x": 0.0, "y": 1.0, "z": 5.0}[row[2]] for row in rows])
    assert found is not None
    assert next(iter(found.shares)) == "word"
    assert found.shares["word"] == pytest.approx(1.0, abs=0.1)


def test_keys_that_only_matter_together_have_all_of_it() -> None:
    rows = drawn(400)
    found = importance(rows, KEYS, [float((float(row[0]) > 0.5) == (float(row[1]) > 0.5)) for row in rows])
    assert found is not None
    assert found.shares["a"] == pytest.approx(1.0, abs=0.25)
    assert found.shares["b"] == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("seed", [0, 1])
def test_chance_is_not_explained(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = drawn(100, seed)
    assert importance(rows, KEYS, [float(random.normal()) for _ in rows]) is None


def test_too_few_say_nothing() -> None:
    rows = drawn(19)
    assert importance(rows, KEYS, [float(row[0]) for row in rows]) is None
    rows = drawn(40)
    assert importance(rows, KEYS, [float(row[0]) if at < 19 else None for at, row in enumerate(rows)]) is None
    assert importance(rows, KEYS, [1.0] * 40) is None
    assert importance([["same"]] * 40, ("fixed",), [float(at) for at in range(40)]) is None
