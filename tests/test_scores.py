"""The table of scores is made of its list and its figures, and each row reaches its goal."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import score_table as table
import score_training as training

trained = cache(training.train)
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXPERIMENTS = {path.stem for path in (ROOT / "conf" / "steelyard_conf" / "experiment").glob("*.yaml")}


def experiment(row: table.Row) -> str:
    return row.words[0].removeprefix("experiment=")


def test_the_readme_holds_the_table_of_the_figures() -> None:
    assert table.placed(README, table.markdown(table.read())) == README


def test_every_figure_reaches_its_goal() -> None:
    figures = table.read()
    assert figures
    for row in table.ROWS:
        if row.name in figures:
            assert row.reached(figures[row.name].value, figures), row.name


def test_a_table_without_its_place_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        table.placed("no markers", "")


def test_more_and_less_are_told_apart() -> None:
    rows = {row.name: row for row in table.ROWS}
    assert rows["keyword"].reached(0.9, {})
    assert not rows["keyword"].reached(0.89, {})
    assert rows["recognition"].reached(0.05, {})
    assert not rows["recognition"].reached(0.06, {})
    assert not rows["language_model"].reached(2.6, {})
    assert rows["recognition_variants"].reached(1e9, {})


def test_a_goal_beside_another_row_moves_with_it() -> None:
    lora = next(row for row in table.ROWS if row.name == "sentiment_lora")
    tuned = table.Figure(value=0.85, low=None, high=None, seconds=1.0, machine="", seeds=3)
    assert lora.wanted({"sentiment": tuned}) == pytest.approx(0.83)
    assert lora.reached(0.8301, {"sentiment": tuned})
    assert not lora.reached(0.8299, {"sentiment": tuned})
    assert lora.wanted({}) is None


def test_the_table_says_how_many_seeds_were_trained_and_not_how_many_the_list_asks_for() -> None:
    lora = next(row for row in table.ROWS if row.name == "sentiment_lora")
    one = table.Figure(value=0.86, low=None, high=None, seconds=1.0, machine="", seeds=1)
    assert len(lora.seeds) == 3
    assert "seeds" not in table.markdown({"sentiment_lora": one}, [lora])
    assert "mean of 3 seeds" in table.markdown({"sentiment_lora": replace(one, seeds=3)}, [lora])


def test_a_value_that_is_missing_is_no_score() -> None:
    stored = {"sections": [{"measurements": [{"name": "task.wer", "value": None}]}]}
    with pytest.raises(KeyError):
        table.measurement(stored, "task.wer")


@pytest.mark.slow
@pytest.mark.parametrize("row", table.ROWS, ids=[row.name for row in table.ROWS])
def test_a_real_training_reaches_the_goal(row: table.Row) -> None:
    if experiment(row) not in EXPERIMENTS:
        pytest.skip(f"there is no experiment {experiment(row)}")
    found = trained(row)
    assert row.reached(found.value, table.read()), found


def test_keras_and_the_perceptron_of_the_source_are_half_a_point_apart_at_most() -> None:
    figures = table.read()
    assert abs(figures["keras"].value - figures["source_recipe"].value) <= 0.005


@pytest.mark.slow
def test_keras_and_the_perceptron_of_the_source_learn_alike() -> None:
    rows = {row.name: row for row in table.ROWS}
    keras, ours = trained(rows["keras"]), trained(rows["source_recipe"])
    assert abs(keras.value - ours.value) <= 0.005, (keras, ours)
