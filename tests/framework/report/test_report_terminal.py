"""The terminal's tables, wide, narrow and piped."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

import report_samples as samples
from steelyard.measurement import Measurement, Status
from steelyard.problem import Problem
from steelyard.report import print_problems, print_scorecard
from steelyard.scorecard import Section


def console(width):
    return Console(file=io.StringIO(), width=width, highlight=False)


def printed(found):
    return found.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_nothing_is_cut_at_any_width(width):
    found = console(width)
    print_scorecard(samples.failing(), console=found)
    text = printed(found)
    assert max(map(len, text.splitlines())) <= width
    squeezed = re.sub(r"\s+", "", text)
    for words in ("0.922", "7.98", "skipped", "5.50ms", "invalid", "Interpretability", "isinconclusive"):
        assert words in squeezed
    assert "…" not in text


@pytest.mark.parametrize("status", [*Status])
def test_a_number_is_printed_with_every_status_that_it_can_have(status):
    value = None if status in (Status.SKIPPED, Status.FAILED) else 0.5
    row = Measurement(name="compute.meter.energy", value=value, status=status, note="by 10 W a core")
    found = console(120)
    section = Section(key="compute.meter", status=Status.MEASURED, measurements=(row,))
    print_scorecard(samples.scorecard(extra=(section,)), console=found)
    line = next(line for line in printed(found).splitlines() if "Energy" in line)
    assert (status.value in line) is (status is not Status.MEASURED)


def test_markup_in_names_stays_text():
    found = console(160)
    problem = Problem("the layer [bold]x[/bold] is [red", "a=[1,2]", party="[link]")
    print_problems([problem], console=found)
    for words in ("[bold]x[/bold] is [red", "a=[1,2]", "[link]"):
        assert words in printed(found)


def test_all_problems_stand_in_one_table_and_notes_apart():
    found = console(120)
    problems = [
        Problem("layer1.1 is BatchNorm2d", "model.norm=group", party="privacy.dp_sgd"),
        Problem("two plugins own the seam gradients", "", party="core"),
        Problem("settings of x are not used", "", level="note", party="stability.noise"),
    ]
    print_problems(problems, console=found)
    lines = printed(found).splitlines()
    assert lines[0] == "The run is refused: 2 problems"
    assert "model.norm=group" in next(line for line in lines if "BatchNorm2d" in line)
    assert lines[-1].rstrip() == "note: stability.noise: settings of x are not used"


def test_notes_alone_refuse_nothing():
    found = console(80)
    print_problems([Problem("m", level="note")], console=found)
    assert "refused" not in printed(found)


def test_piped_output_is_plain(capsys):
    print_scorecard(samples.scorecard(private=True))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "delta=1e-5, Poisson sampling, RDP accountant" in text


def test_a_meaning_is_said_where_the_line_has_room():
    wide, less = console(160), console(100)
    for found in (wide, less):
        print_scorecard(samples.scorecard(), console=found)
    meaning = "share of the test examples that it decides right"
    lines = printed(wide).splitlines()
    assert any("Accuracy" in line and "n = 360" in line and meaning in line for line in lines)
    assert meaning not in printed(less)


def test_a_curve_is_one_line(capsys):
    print_scorecard(samples.scorecard())
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "Deletion" in line]) == 2
    assert any("over level 0 to 0.4" in line for line in lines)


def test_what_is_missing_for_one_reason_says_it_once():
    skipped = [
        Measurement(name="stability.attack.flips", value=None, status=Status.SKIPPED, at={"radius": at}, note="no time")
        for at in (0.1, 0.2, 0.4)
    ]
    other = Measurement(name="stability.attack.worst", value=None, status=Status.SKIPPED, note="no time")
    clean = Measurement(name="stability.attack.accuracy", value=0.9, at={"radius": 0.0}, note="by classes")
    unknown = [replace(row, name=clean.name) for row in skipped]
    section = Section(key="stability.attack", status=Status.MEASURED, measurements=(other, *skipped, clean, *unknown))
    found = console(160)
    print_scorecard(samples.scorecard(extra=(section,)), console=found)
    lines = printed(found).splitlines()
    at = next(number for number, line in enumerate(lines) if line.split() == ["attack"])
    shown = [re.sub(r"\s{2,}", "  ", line.strip()) for line in lines[at + 1 : at + 5]]
    assert shown == [
        "Worst  skipped  no time",
        "Flips, radius 0.1 to radius 0.4  skipped  as above",
        "Accuracy, radius 0  0.9  by classes",
        "Accuracy, radius 0.1 to radius 0.4  skipped  as above",
    ]


def test_a_failed_control_says_why_once_and_what_each_number_rests_on():
    broken = [
        Measurement(name=f"stability.attack.{name}", value=0.5, status=Status.INVALID, note=f"it is random; {rest}")
        for name, rest in (("mean", "over 5 kinds"), ("worst", "by fog"))
    ]
    section = Section(key="stability.attack", status=Status.MEASURED, measurements=tuple(broken))
    found = console(160)
    print_scorecard(samples.scorecard(extra=(section,)), console=found)
    text = printed(found)
    assert "it is random; over 5 kinds" in text
    assert "as above; by fog" in text
    assert text.count("it is random") == 1
