"""Steelyard trains a model and weighs it on compute, privacy, interpretability and stability."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.api import run as run
    from steelyard.attachment import Attachment as Attachment
    from steelyard.draft import Draft as Draft
    from steelyard.measurement import Better as Better
    from steelyard.measurement import Measurement as Measurement
    from steelyard.measurement import Picture as Picture
    from steelyard.measurement import Sound as Sound
    from steelyard.measurement import Status as Status
    from steelyard.measurement import Table as Table
    from steelyard.option import Option as Option
    from steelyard.plugin import Plugin as Plugin
    from steelyard.problem import Problem as Problem
    from steelyard.runs import Run as Run
    from steelyard.seam import Seam as Seam

# Importing steelyard costs nothing: the command line and every declaration do it.
_HOMES = {
    "Attachment": "attachment",
    "Better": "measurement",
    "Draft": "draft",
    "Measurement": "measurement",
    "Option": "option",
    "Picture": "measurement",
    "Sound": "measurement",
    "Plugin": "plugin",
    "Problem": "problem",
    "Run": "runs",
    "Seam": "seam",
    "Status": "measurement",
    "Table": "measurement",
    "run": "api",
}

__all__ = [
    "Attachment",
    "Better",
    "Draft",
    "Measurement",
    "Option",
    "Picture",
    "Plugin",
    "Problem",
    "Run",
    "Seam",
    "Sound",
    "Status",
    "Table",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steelyard' has no attribute {name!r}")
    return getattr(import_module(f"steelyard.{_HOMES[name]}"), name)
