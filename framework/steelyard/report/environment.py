"""The templates, with escaping always on."""

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from steelyard.report.numbers import duration
from steelyard.report.words import opened

if TYPE_CHECKING:
    from jinja2 import Environment


def fill(template: str, **values: Any) -> bytes:
    """A whole page as UTF-8."""
    return _environment().get_template(template).render(css=_css(), **values).encode()


def warm() -> None:
    """Compiles all templates, so that processes forked from this one need not."""
    for name in _environment().list_templates(extensions=["html"]):
        _environment().get_template(name)


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("steelyard.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["capitalize_first"] = opened
    environment.filters["seconds"] = duration
    return environment


@lru_cache(maxsize=1)
def _css() -> Markup:
    text = files("steelyard.report").joinpath("templates/page.css").read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704, our own file
