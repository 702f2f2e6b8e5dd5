import random

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from torchmetrics.text import CHRFScore, SacreBLEUScore

from steelyard.measurement import Better
from steelyard.problem import Refused
from steelyard.statistics import bootstrap
from steelyard.tasks import _text_metrics
from steelyard.tasks.text_metrics import KINDS, check, compared, copied

WORDS = ["the", "dog", ",", "a", "cat", ".", "sees", "no", "red", "house", "near", "these", "old", "roads"]


def texts(count, *, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 12))) for _ in range(count)]


@pytest.fixture(scope="module")
def pair():
    """Written texts that are right in part, and the right ones."""
    wanted = texts(40, seed=1)
    draw = random.Random(2)
    written = [
        " ".join(draw.choice(WORDS) if draw.random() < 0.2 else word for word in text.split()) for text in wanted
    ]
    return written, wanted


def whole(counted):
    return counted.score(counted.rows.sum(axis=0))


def test_bleu_and_chrf_are_those_of_sacrebleu_and_of_torchmetrics(pair):
    written, wanted = pair
    corpus = [[text] for text in wanted]
    assert whole(_text_metrics.bleu(*pair)) == pytest.approx(BLEU().corpus_score(written, [wanted]).score)
    assert whole(_text_metrics.bleu(*pair)) == pytest.approx(100 * float(SacreBLEUScore()(written, corpus)), rel=1e-5)
    assert whole(_text_metrics.chrf(*pair)) == pytest.approx(CHRF().corpus_score(written, [wanted]).score)
    oracle = CHRFScore(n_word_order=0)(written, corpus)
    assert whole(_text_metrics.chrf(*pair)) == pytest.approx(100 * float(oracle), rel=1e-5)


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_that_of_its_reference_library(pair, kind):
    scorer = RougeScorer([kind])
    oracle = np.mean([scorer.score(right, said)[kind].fmeasure for said, right in zip(*pair, strict=True)])
    assert whole(_text_metrics.rouge(kind, *pair)) == pytest.approx(oracle, abs=1e-6)


def test_the_interval_is_that_of_corpora_drawn_one_by_one(pair):
    written, wanted = pair
    counted = _text_metrics.bleu(*pair)
    value, interval = bootstrap(counted.rows, counted.score)
    draw = np.random.default_rng(0)
    scores = []
    for _ in range(300):
        rows = draw.integers(len(written), size=len(written))
        scores.append(BLEU().corpus_score([written[row] for row in rows], [[wanted[row] for row in rows]]).score)
    assert value == whole(counted)
    assert interval == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=1.5)
    assert interval[0] < value < interval[1]


def test_the_interval_is_the_same_in_every_run_and_needs_two_examples(pair):
    counted = _text_metrics.chrf(*pair)
    assert bootstrap(counted.rows, counted.score) == bootstrap(counted.rows, counted.score)
    assert bootstrap(counted.rows, counted.score) != bootstrap(counted.rows, counted.score, seed=1)
    assert bootstrap(counted.rows[:1], counted.score)[1] is None


def test_runs_draw_the_same_examples_so_a_better_run_is_better_in_every_draw(pair):
    """The lower and the upper end of a score that is higher by one everywhere are higher by exactly one."""
    rows = np.random.default_rng(0).random((50, 1))
    ends = [bootstrap(rows + plus, lambda total: float(total[0]) / 50)[1] for plus in (0, 1)]
    assert np.subtract(ends[1], ends[0]) == pytest.approx([1, 1])


@pytest.mark.parametrize("metric", ["bleu", "chrf", "rouge"])
def test_the_right_texts_get_the_most_and_others_get_less(pair, metric):
    written, wanted = pair
    most = 1 if metric == "rouge" else 100
    for kind in KINDS[metric].values():
        assert whole(kind.count(wanted, wanted)) == pytest.approx(most)
        assert 0 < whole(kind.count(written, wanted)) < most
        assert whole(kind.count([""] * 40, wanted)) == 0


def test_numbers_know_what_they_are(pair):
    rows = list(compared(["bleu", "rouge"], *pair, note="beam search"))
    assert [row.name for row in rows] == ["bleu", "rouge_l", "rouge_1", "rouge_2"]
    for row in rows:
        assert (row.better, row.split, row.count) == (Better.HIGHER, "test", 40)
        assert row.interval[0] < row.value < row.interval[1]
        assert row.note.startswith("beam search")
        assert row.meaning


def test_copying_takes_as_many_words_as_the_right_answer_has():
    rows = list(copied(["bleu", "rouge"], ["a b c d e f", "x y z"], ["a b c d", "q r"]))
    assert [row.name for row in rows] == ["copied_bleu", "copied_rouge_l"]
    assert rows[1].value == pytest.approx(0.5)
    assert all(row.better is None and row.note.startswith("control") for row in rows)


def test_an_unknown_metric_is_refused():
    with pytest.raises(Refused, match=r"task\.metrics has 'meteor'; it takes bleu, chrf, rouge"):
        check(["bleu", "meteor"])
