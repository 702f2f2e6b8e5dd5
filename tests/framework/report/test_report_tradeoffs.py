"""Trade-off pictures: the noise floor of the seeds beside the front."""

import re

from steelyard.report import chart


def drawn(floor: float | None, top: float = 1.0) -> str:
    points = (chart.Point(x=1.0, y=0.0), chart.Point(x=2.0, y=top))
    series = (chart.Series(name="one", points=points, index=0, joined=False),)
    return str(chart.draw(chart.Chart(title="t", x_label="x", y_label="y", series=series, floor=floor)))


def bar(picture: str) -> float:
    """The longest upright line at the right edge."""
    x = f"{chart.WIDTH - chart.RIGHT / 2:g}"
    lines = re.findall(rf'<line x1="{x}" y1="([\d.]+)" x2="{x}" y2="([\d.]+)"', picture)
    return max((abs(float(second) - float(first)) for first, second in lines), default=0.0)


def test_the_bar_is_as_long_as_the_floor_on_the_scale_of_the_picture() -> None:
    assert bar(drawn(0.4)) == 2 * bar(drawn(0.2)) > 0
    assert "Chance alone: 0.2" in drawn(0.2)


def test_no_bar_where_no_seed_says_what_chance_does() -> None:
    assert bar(drawn(None)) == 0
    assert "Chance alone" not in drawn(None)


def test_a_floor_beyond_the_picture_fills_it() -> None:
    assert bar(drawn(100.0)) == chart.HEIGHT - chart.TOP - chart.BOTTOM
