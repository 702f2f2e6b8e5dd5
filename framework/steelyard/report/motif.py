"""The steelyard: a beam that lies level when the run holds, and hangs when it does not."""

import math

from markupsafe import Markup

from steelyard.report import svg

_TILT = {"good": 0.0, "open": 0.0, "bad": 9.0}
_SAYS = {"good": "A steelyard in balance", "open": "A steelyard", "bad": "A steelyard out of balance"}


def steelyard(tone: str) -> Markup:
    """The balance for a verdict's tone."""
    tilt = math.radians(_TILT[tone])
    pivot = (44.0, 16.0)

    def beam(distance: float) -> tuple[float, float]:
        return pivot[0] + distance * math.cos(tilt), pivot[1] - distance * math.sin(tilt)

    load, weight = beam(-30), beam(34)
    notches = [_notch(beam(distance), tilt) for distance in range(10, 66, 8)]
    pan = [(load[0] + across, load[1] + down) for across, down in ((-10, 12), (10, 12), (7, 26), (-7, 26))]
    parts = [
        svg.element("path", d="M44 3 a3.5 3.5 0 1 1 -0.01 0 M44 10 V16", class_="beam"),
        svg.path([beam(-34), beam(68)], "beam strong"),
        *notches,
        svg.line(load, (load[0], load[1] + 12), "beam"),
        svg.path(pan, "load", closed=True),
        svg.line(weight, (weight[0], weight[1] + 6), "beam"),
        svg.element("circle", cx=weight[0], cy=weight[1] + 11, r=5, class_="weight"),
    ]
    return svg.picture(*parts, width=120, height=52, label=_SAYS[tone], class_=f"motif {tone}")


def _notch(at: tuple[float, float], tilt: float) -> Markup:
    return svg.line(at, (at[0] + 3 * math.sin(tilt), at[1] + 3 * math.cos(tilt)), "beam")
