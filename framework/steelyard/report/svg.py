"""Elements of inline SVG, escaped. Colours and fonts come from the page's CSS by class."""

from collections.abc import Sequence

from markupsafe import Markup, escape

SHAPES = ("circle", "square", "triangle", "diamond", "wedge", "cross")
"""Marks by series, so that colour is never the only difference."""
_CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0, -1.2), (1.15, 0.8), (-1.15, 0.8)],
    "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
    "wedge": [(0, 1.2), (1.15, -0.8), (-1.15, -0.8)],
    "cross": [
        *((-1, -0.3), (-0.3, -0.3), (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3)),
        *((1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3)),
    ],
}


def element(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """One element. Attributes end in `_` where Python reserves the word; the other underscores become hyphens."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{shown}>{Markup('').join(children)}</{name}>")  # noqa: S704, every part is escaped


def picture(*children: Markup, width: float, height: float, label: str, class_: str = "") -> Markup:
    """A drawing that scales with its box; `label` says it in words."""
    return element(
        "svg", *children, viewBox=f"0 0 {_text(width)} {_text(height)}", role="img", aria_label=label, class_=class_
    )


def line(start: tuple[float, float], end: tuple[float, float], class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, *, closed: bool = False) -> Markup:
    """A polyline, or a polygon where `closed`."""
    steps = " L".join(f"{_text(x)} {_text(y)}" for x, y in points)
    return element("path", d=f"M{steps}{' Z' if closed else ''}", class_=class_)


def text(words: str, at: tuple[float, float], class_: str, anchor: str = "start") -> Markup:
    """A line of text."""
    return element("text", words, x=at[0], y=at[1], class_=class_, text_anchor=anchor)


def mark(series: int, at: tuple[float, float], class_: str, *, size: float = 4.0, tip: str = "") -> Markup:
    """The mark of a series, with a tip for the mouse."""
    x, y = at
    shape = SHAPES[series % len(SHAPES)]
    tips = [element("title", tip)] if tip else []
    if shape == "circle":
        return element("circle", *tips, cx=x, cy=y, r=size, class_=class_)
    steps = " L".join(f"{_text(x + a * size)} {_text(y + b * size)}" for a, b in _CORNERS[shape])
    return element("path", *tips, d=f"M{steps} Z", class_=class_)


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
