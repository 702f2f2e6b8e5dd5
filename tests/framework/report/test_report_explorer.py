"""The page of a large sweep: what is best, what moves it, and the data behind the picture of any two scores."""

import json
import math
import re
import shlex
from dataclasses import replace

import pytest

import report_samples as samples
from report_pages import check_self_contained, page
from steelyard.folder import State
from steelyard.report.telling import MOST
from steelyard.sweep import finish


def rate(number):
    return 10 ** (-4 + 3 * (number * 0.618 % 1))


def score(lr):
    return -0.03 * (math.log10(lr) + 2) ** 2


def written(folder, count, *, met=None):
    """Groups whose accuracy follows from the rate, and whose step time from nothing."""
    for number in range(count):
        lr = rate(number)
        words = ("experiment=first look", f"optimizer.lr={lr!r}", "seed=0", "sweep.workers=2")
        card = samples.scorecard(shift=score(lr), overrides=words)
        if met is not None:
            card = replace(card, requirements=samples.requirements(met=met(number)))
        samples.write(folder / str(number), card, config=samples.CONFIG.format(seed=0, lr=lr, privacy="membership: {}"))
        (folder / str(number) / "report.html").write_text("x")
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return finish(written(tmp_path_factory.mktemp("large") / "s", 40))


def data(summary):
    text = summary.page.read_text()
    return json.loads(re.search(r'<script type="application/json" id="explored">(.*?)</script>', text, re.S).group(1))


def test_the_page_stands_alone_and_is_no_torso(large):
    found = page(large.page)
    links = {"sweep.csv", *(f"{number}/report.html" for number in range(40))}
    check_self_contained(found, local=links)
    # Side by side stand the best, and all are in the table and in the data.
    assert f"{MOST} of 40 groups stand side by side" in found.words
    assert len(data(large)["groups"]) == 40
    assert len([tag for tag in found.named("a") if tag.attrs["href"] == "39/report.html"]) >= 1


def test_the_data_are_the_scorecards(large):
    found = data(large)
    accuracy = next(one for one in found["scores"] if one["label"] == "Accuracy")
    assert accuracy["better"] == 1
    assert accuracy["values"] == pytest.approx([0.9722 + score(rate(number)) for number in range(40)], rel=1e-5)
    (key,) = found["keys"]
    assert key["label"] == "optimizer.lr"
    assert key["values"] == pytest.approx([rate(number) for number in range(40)], rel=1e-5)
    label, trials, link, words = found["groups"][7]
    assert (label, trials, link) == (f"#8 lr={rate(7)!r}", 1, "7/report.html")
    assert shlex.split(found["common"]) == ["experiment=first look"]
    assert words == f"optimizer.lr={rate(7)!r}"


def test_the_best_line_can_be_pasted(large):
    best = max(range(40), key=lambda number: score(rate(number)))
    line = f"steelyard run &#39;experiment=first look&#39; optimizer.lr={rate(best)!r}"
    assert f'<pre tabindex="0">{line}</pre>' in large.page.read_text()
    assert "others not told apart from it" in page(large.page).words


def test_what_moves_a_score_is_said_with_its_method(large):
    words = page(large.page).words
    assert re.search(r"Accuracy: 9\d% of its variance is explained", words)
    assert "permutation importance in a random forest over 40 groups, out of the bag" in words
    assert "Step seconds (cost) [s]: " not in words.partition("permutation importance")[0].partition("What moves")[2]


def test_the_best_meets_its_requirements(tmp_path):
    order = sorted(range(8), key=lambda number: -score(rate(number)))
    summary = finish(written(tmp_path / "s", 8, met=lambda number: number == order[3]))
    words = page(summary.page).words
    assert f"lr={rate(order[3])!r}" in words.partition("Best Accuracy")[2][:120]
    assert "of the 1 that meet their requirements" in words


def test_few_groups_say_nothing_of_importance(tmp_path):
    words = page(finish(written(tmp_path / "s", 8)).page).words
    assert "What moves a score" not in words
    assert "well enough to say" not in words
    assert "stand side by side" not in words


def test_text_from_a_run_cannot_leave_the_data(tmp_path):
    folder = tmp_path / "s"
    for number in range(3):
        words = (f"vars.x='</script><b>{number}'",)
        card = samples.scorecard(shift=number / 100, overrides=words)
        config = samples.CONFIG.format(seed=0, lr=number, privacy="membership: {}")
        samples.write(folder / str(number), card, config=config)
    summary = finish(folder)
    assert "</script><b>" in data(summary)["groups"][2][3]
    assert "</script><b>" not in summary.page.read_text()


def test_many_lost_trials_are_counted(tmp_path):
    folder = written(tmp_path / "s", 2)
    for number in range(2, 40):
        samples.write(folder / str(number), None, state=State.FAILED.value, exit_code=3, message="ValueError: no")
    assert "and 18 more in the table of trials" in page(finish(folder).page).words
