"""Sweeps: the table, the page, comparisons, plugins that speak over several runs."""

import csv
import io
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

import report_samples as samples
from report_pages import check_self_contained, page
from steelyard import Measurement, Picture, Plugin, Table, registry
from steelyard.sweep import compare, finish, print_sweep
from steelyard.trials.step_costs import step_costs

BOOM = '<script>boom</script>, "quoted"\nline two'


def links(summary):
    return [f"{trial.name}/report.html" for trial in summary.trials] + [summary.table.name]


def rows(summary):
    return list(csv.DictReader(io.StringIO(summary.table.read_text(encoding="utf-8"))))


def printed(summary, width=160):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_sweep(summary, console=console)
    return console.file.getvalue()


@pytest.fixture
def first_look(tmp_path):
    return finish(samples.first_look(tmp_path / "sweep"))


@pytest.fixture
def seeds(tmp_path):
    """Two groups of three seeds, a failed trial and a refused one."""
    folder = tmp_path / "sweep"
    for number, (private, seed) in enumerate((private, seed) for private in (False, True) for seed in (0, 1, 2)):
        card = samples.scorecard(private=private, seed=seed, shift=0.004 * (seed - 1))
        samples.write(folder / str(number), card)
    samples.write(folder / "10", None, state="refused", exit_code=2, message="BatchNorm, fix: model.norm=group")
    samples.write(folder / "9", None, state="failed", exit_code=3, message=BOOM)
    return finish(folder)


def test_the_main_page_stands_alone(first_look):
    found = page(first_look.page)
    check_self_contained(found, local=links(first_look))
    for words in (
        "plain against privacy=dp_sgd",
        "2 trials: all done.",
        "Best: plain, by 0.05",
        "Not told apart: the intervals overlap",
        "not in this trial",
        "Accuracy against epsilon",
        "Each trial drew its own picture",
        "Share of the test examples that it decides right.",
        "delta=1e-5, Poisson sampling, RDP accountant",
        "One seed per group",
    ):
        assert words in found.words
    assert len(found.named("img")) == 4
    assert len([tag for tag in found.tags if tag.attrs.get("class") == "chart"]) >= 6


def test_links_lead_to_reports(first_look):
    for link in links(first_look):
        assert (first_look.folder / link).exists()


def test_the_table_has_every_trial_and_every_scalar(seeds):
    found = rows(seeds)
    assert [row["trial"] for row in found] == ["0", "1", "2", "3", "4", "5", "9", "10"]
    assert [row["state"] for row in found] == ["done"] * 6 + ["failed", "refused"]
    assert found[6]["reason"] == BOOM
    for trial, row in zip(seeds.trials, found, strict=True):
        if trial.scorecard is None:
            assert row["task.accuracy"] == ""
            continue
        assert row["seed"] == str(trial.seed)
        for item in trial.scorecard.measurements():
            if item.at:
                assert item.name not in row
            elif item.value is None:
                assert (row[item.name], row[f"{item.name}.status"]) == ("", "skipped")
            else:
                assert float(row[item.name]) == item.value
            if item.interval and not item.at:
                assert (float(row[f"{item.name}.low"]), float(row[f"{item.name}.high"])) == item.interval


def test_failed_trials_stay_with_their_reasons(seeds):
    found = page(seeds.page)
    check_self_contained(found, local=links(seeds))
    assert "8 trials: 6 done, 1 failed and 1 refused." in found.words
    assert "<script>boom</script>" in found.words
    assert "fix: model.norm=group" in found.words
    assert (seeds.folder / "9" / "report.html").exists()
    assert seeds.exit_code == 3


def test_seeds_are_folded(seeds):
    assert [(group.label, len(group.trials)) for group in seeds.groups] == [("plain", 3), ("privacy=dp_sgd", 3)]
    words = page(seeds.page).words
    assert "sd 0.0040, 0.9682 to 0.9762, 3 seeds" in words
    assert "seeds alone move it by 0.0040 (standard deviation)" in words


def test_the_terminal_shows_the_same(seeds):
    text = printed(seeds)
    assert "privacy=dp_sgd against plain: accuracy 0.9222 instead of 0.9722 (worse)" in text
    assert "best: plain, by 0.05" in text
    assert "privacy.dp_sgd: compute.cost.step_seconds takes 2.62 times as long" in text
    assert str(seeds.page) in text


@pytest.mark.parametrize("width", [50, 80])
def test_a_narrow_terminal_cuts_nothing(first_look, width):
    text = printed(first_look, width)
    assert "…" not in text
    assert "0.972" in text


def test_what_a_plugin_costs_in_the_step(first_look):
    (cost,) = step_costs(first_look.groups)
    assert (cost.plugins, cost.name) == (("privacy.dp_sgd",), "compute.cost.step_seconds")
    assert cost.ratio == pytest.approx(0.0055 / 0.0021)


def test_times_that_were_taken_once_are_not_compared(first_look):
    # train_seconds has no interval: the first run of a process pays in it for the warm-up of all.
    names = {name for group in first_look.groups for trial in group.trials for name in trial.measurements}
    assert "compute.cost.train_seconds" in names
    assert {cost.name for cost in step_costs(first_look.groups)} == {"compute.cost.step_seconds"}


def test_unlike_runs_say_nothing_of_step_costs(tmp_path):
    samples.write(tmp_path / "s" / "0", samples.scorecard())
    samples.write(tmp_path / "s" / "1", samples.scorecard(private=True, choices={"model": "cnn"}))
    assert not list(step_costs(finish(tmp_path / "s").groups))


def test_compare_takes_runs_and_sweeps_and_counts_each_once(tmp_path):
    sweep = samples.first_look(tmp_path / "a" / "sweep")
    run = samples.write(tmp_path / "b" / "run", samples.scorecard(choices={"model": "cnn"}))
    to = tmp_path / "out"
    summary = compare([sweep, run, sweep / "0"], to=to)
    assert [trial.name for trial in summary.trials] == ["a/sweep/0", "a/sweep/1", "b/run"]
    assert summary.page == to / "compare.html"
    assert len(rows(summary)) == 3
    finish(sweep)
    again = compare([sweep, run], to=to)
    hrefs = {link for link in page(again.page).links if link.endswith("report.html")}
    assert sorted(hrefs) == ["../a/sweep/0/report.html", "../a/sweep/1/report.html"]


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        finish(tmp_path)
    with pytest.raises(FileNotFoundError, match="no run folder"):
        compare([tmp_path], to=tmp_path)


def test_a_broken_scorecard_is_a_row_with_a_reason(tmp_path):
    folder = samples.first_look(tmp_path / "sweep")
    samples.write(folder / "2", samples.scorecard())
    (folder / "2" / "scorecard.json").write_text('{"schema_version": 99')
    summary = finish(folder)
    assert rows(summary)[2]["state"] == "unreadable"
    assert "JSONDecodeError" in rows(summary)[2]["reason"]
    assert summary.exit_code == 3


def test_the_bytes_are_a_function_of_the_folders(tmp_path):
    folder = samples.first_look(tmp_path / "sweep")
    first = finish(folder).page.read_bytes()
    assert finish(folder).page.read_bytes() == first
    shutil.copytree(folder, tmp_path / "elsewhere" / "sweep")
    assert finish(tmp_path / "elsewhere" / "sweep").page.read_bytes() == first


def test_a_search_may_give_trials_up(tmp_path):
    folder = samples.first_look(tmp_path / "s")
    samples.write(folder / "2", None, state="pruned", exit_code=0, message="val_loss was worse than the median")
    summary = finish(folder)
    assert summary.exit_code == 0
    words = page(summary.page).words
    assert "2 done and 1 pruned" in words
    assert 'class="verdict bad"' not in summary.page.read_text()


def test_requirements_decide_the_tone(tmp_path):
    for number, met in enumerate((True, False)):
        card = samples.scorecard(seed=number, requirements=samples.requirements(met=met))
        samples.write(tmp_path / "s" / str(number), card, exit_code=int(not met))
    summary = finish(tmp_path / "s")
    words = page(summary.page).words
    assert "1 of 2 met their requirements." in words
    assert "not met: task.accuracy" in words
    assert summary.exit_code == 1


@dataclass(frozen=True, kw_only=True)
class Speaks(Plugin):
    """Says something over all runs."""

    level: float = 0.5

    def attach(self, draft):
        raise NotImplementedError

    def compare(self, runs):
        yield Measurement(name="runs", value=float(len(runs)), note=f"level {self.level}")
        yield Picture(name="p", title="Both runs", png=samples.png(), alt="Two lines")
        yield Table(name="t", title="Runs", columns=["run", "x"], rows=[[run.folder.name, None] for run in runs])


@dataclass(frozen=True, kw_only=True)
class Breaks(Speaks):
    """Fails after its first words."""

    def compare(self, runs):
        yield Measurement(name="runs", value=1.0)
        raise RuntimeError("<b>cannot compare</b>")


def spoken(tmp_path, monkeypatch, plugin):
    section = replace(samples.task(), key="fairness.speaks", settings={"level": 0.25}, measurements=())
    for number in (0, 1):
        card = samples.scorecard(private=bool(number))
        samples.write(tmp_path / "s" / str(number), replace(card, sections=(*card.sections[:1], section)))
    monkeypatch.setattr(registry, "load", lambda key: plugin)
    return finish(tmp_path / "s")


def test_plugins_speak_over_all_runs(tmp_path, monkeypatch):
    summary = spoken(tmp_path, monkeypatch, Speaks)
    (said,) = summary.said
    assert said.measurements[0].name == "fairness.speaks.runs"
    found = page(summary.page)
    check_self_contained(found, local=links(summary))
    for words in ("Over all trials together", "Level 0.25", "Both runs"):
        assert words in found.words
    text = printed(summary)
    after = text.partition("Over all trials together")[2].split()
    assert after[:3] == ["speaks", "Runs", "2"]
    assert "Fairness" not in text


def test_a_plugin_that_fails_hides_nobody(tmp_path, monkeypatch):
    summary = spoken(tmp_path, monkeypatch, Breaks)
    assert len(summary.said[0].measurements) == 1
    words = page(summary.page).words
    assert "RuntimeError: <b>cannot compare</b>" in words
    assert "Accuracy" in words


def test_a_plugin_that_is_not_installed_is_named(tmp_path):
    section = replace(samples.task(), key="fairness.gone", measurements=())
    card = samples.scorecard()
    samples.write(tmp_path / "s" / "0", replace(card, sections=(*card.sections[:1], section)))
    (said,) = finish(tmp_path / "s").said
    assert "no plugin is called fairness.gone" in said.error


def test_many_trials_stay_readable_and_quick(tmp_path):
    folder = tmp_path / "s"
    for number in range(40):
        config = samples.CONFIG.format(seed=0, lr=number / 1000, privacy="membership: {}")
        samples.write(folder / str(number), samples.scorecard(shift=number / 1000), config=config)
    summary = finish(folder)
    assert len(summary.groups) == 40
    assert summary.groups[6].label == "#7 lr=0.006"
    check_self_contained(page(summary.page), local=links(summary))
    assert "34 more groups on the page" in printed(summary)


def test_unreadable_folders_are_walked_past(tmp_path):
    folder = samples.first_look(tmp_path / "sweep")
    (folder / ".hidden").mkdir()
    (folder / "notes").mkdir()
    (folder / "latest").symlink_to(folder / "0")
    assert [trial.name for trial in finish(folder).trials] == ["0", "1"]
    assert Path(folder / "sweep.csv").exists()
