"""Numbers carry no more digits than they know, and charts put them where they belong."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from steelyard.measurement import Better, Measurement
from steelyard.report import svg
from steelyard.report.axis import axis
from steelyard.report.chart import Chart, Point, Series, draw
from steelyard.report.curves import chart as chart_of
from steelyard.report.curves import curve
from steelyard.report.numbers import MINUS, TIMES, decimals, duration, number, shown
from steelyard.report.strip import scale, strip
from steelyard.report.words import Anchors, counted, direction, listing, metric, point


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.5, f"{MINUS}0.5"),
        (0.97222, "0.9722"),
        (8.0, "8"),
        (101770.0, "101,770"),
        (12345.6, "12,346"),
        (1.3e9, f"1.30 {TIMES} 10⁹"),
        (0.0000321, f"3.21 {TIMES} 10⁻⁵"),
        (math.inf, "∞"),
        (-math.inf, f"{MINUS}∞"),
        (math.nan, "not a number"),
    ],
)
def test_a_number_has_four_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "interval", "text", "spread"),
    [
        (0.972222, "", (0.9494, 0.9866), "0.972", "0.949 to 0.987"),
        (0.048, "", (-0.0004, 0.097), "0.048", "0.000 to 0.097"),
        (0.97, "", (0.97, 0.97), "0.97", "0.97 to 0.97"),
        (0.0021, "s", None, "2.1 ms", ""),
        (0.0021, "s", (0.00205, 0.0022), "2.100 ms", "2.050 to 2.200"),
        (3.2e-6, "s", None, "3.2 µs", ""),
        (12.5, "s", None, "12.5 s", ""),
        (0.0, "s", None, "0 s", ""),
        (38_535_168.0, "FLOP", None, "38.54 MFLOP", ""),
        (412.4, "MiB", None, "412.4 MiB", ""),
        (0.0, "", (0.0, 0.0102), "0.0000", "0.0000 to 0.0102"),
    ],
)
def test_value_and_interval_share_unit_and_digits(value, unit, interval, text, spread):
    found = shown(value, unit, interval)
    assert (found.full, found.range) == (text, spread)


@pytest.mark.parametrize(("uncertainty", "places"), [(0.018, 3), (0.1, 2), (2.0, 1), (34.0, 0), (0.0, None)])
def test_two_digits_of_the_uncertainty_are_kept(uncertainty, places):
    assert decimals(uncertainty) == places


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250 ms"), (8.44, "8.4 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_read_as_said(seconds, text):
    assert duration(seconds) == text


def test_words():
    assert metric("privacy.x.some_metric", "privacy.x") == "some_metric"
    assert point({"noise_level": 0.1, "order": "random"}) == "noise level 0.1, order random"
    assert direction(Better.LOWER) == "lower is better"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a"]) == "a"
    assert [counted(count, "trial") for count in (1, 2)] == ["1 trial", "2 trials"]
    anchors = Anchors()
    assert [anchors(name) for name in ("a.b", "a-b", "A b", "<>")] == ["a-b", "a-b-2", "a-b-3", "part"]


@pytest.mark.parametrize("values", [(0.1, 0.9), (5.0,), (0.0,), (-3.0, 12.0), (1e-9, 3e-9), (999.0, 1001.0)])
def test_an_axis_holds_its_values_between_round_ticks(values):
    found = axis("x", values)
    assert all(-1e-9 <= found.place(value) <= 1 + 1e-9 for value in values)
    assert found.low < found.high
    assert 2 <= len(found.ticks) <= 9
    assert list(found.ticks) == sorted(found.ticks)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.0, 0.001), ["0", "0.0002", "0.0004", "0.0006", "0.0008", "0.001"]),
        ((-2e-6, 2e-6), [f"{MINUS}2·10⁻⁶", f"{MINUS}1·10⁻⁶", "0", "1·10⁻⁶", "2·10⁻⁶"]),
        ((0.0, 4e12), ["0", "1·10¹²", "2·10¹²", "3·10¹²", "4·10¹²"]),
    ],
)
def test_the_numbers_of_an_axis_leave_room_for_their_neighbours(values, texts):
    chart = Chart(
        title="t",
        x_label="x",
        y_label="y",
        series=(Series(name="s", points=tuple(Point(x=value, y=0.5) for value in values), index=0),),
    )
    shown = ElementTree.fromstring(draw(chart)).iter("text")
    assert [text.text for text in shown if text.get("y") == f"{236 - 42 + 16}"] == texts


def test_a_wide_positive_axis_is_logarithmic():
    found = axis("x", (0.001, 1.0), may_log=True)
    assert found.log
    assert found.place(0.001) == pytest.approx(0)
    assert found.place(0.1) == pytest.approx(2 / 3)
    assert not axis("x", (0.0, 1.0), may_log=True).log
    assert not axis("x", (0.5, 1.0), may_log=True).log


def test_svg_escapes_everything_and_is_well_formed():
    evil = "<script>&\"'"
    drawn = draw(
        Chart(
            title=evil,
            x_label=evil,
            y_label=evil,
            series=(
                Series(name=evil, index=7, points=(Point(x=0, y=1, interval=(0, 2), tip=evil), Point(x=1, y=2))),
                Series(name="hollow", index=1, points=(Point(x=0, y=1, strong=False),), joined=False),
            ),
            levels=((evil, 1.5, 2),),
            front=((0, 1), (1, 2)),
        )
    )
    root = ElementTree.fromstring(drawn)
    assert evil in root.attrib["aria-label"]
    assert not root.findall(".//script")


@pytest.mark.parametrize("index", range(len(svg.SHAPES) + 1))
def test_every_series_has_a_mark(index):
    ElementTree.fromstring(svg.mark(index, (3, 4), "mark", tip="<"))


def test_a_strip_keeps_its_marks_inside():
    on = scale([1.0, 2.0])
    assert (on.place(1.0), on.place(2.0)) == ("4.00%", "96.00%")
    assert scale([1.0]).place(1.0) == "50.00%"
    ElementTree.fromstring(strip(1.0, (1.0, 2.0), on, 0))


def test_a_curve_needs_two_places_on_one_coordinate():
    def at(**place):
        return Measurement(name="a.b.c", value=1.0, at=place)

    assert curve([at(level=1.0)]) is None
    assert curve([at(kind="blur"), at(kind="fog")]) is None
    found = curve([at(level=2.0, kind="fog"), at(level=1.0, kind="fog"), at(level=1.0, kind="blur")])
    assert found.across == "level"
    assert {name: [item.at["level"] for item in branch] for name, branch in found.branches.items()} == {
        "kind fog": [1.0, 2.0],
        "kind blur": [1.0],
    }


def test_the_coordinate_stands_at_the_axis_with_its_unit():
    rows = [Measurement(name="a.b.c", value=x, at={"radius": x}, at_unit="pixel value") for x in (0.1, 0.2)]
    assert chart_of(curve(rows), "C").x_label == "Radius [pixel value]"
    plain = [replace(row, at_unit="") for row in rows]
    assert chart_of(curve(plain), "C").x_label == "Radius"


def test_the_coordinate_with_most_values_goes_across():
    rows = [
        Measurement(name="a.b.c", value=1.0, at={"radius": r, "steps": s}) for r in (1.0, 2.0) for s in (1.0, 5.0, 9.0)
    ]
    found = curve(rows)
    assert found.across == "steps"
    assert list(found.branches) == ["radius 1", "radius 2"]
