"""What Lightning asks for each Trainer, asked once for all trials of a sweep: which packages bring callbacks along.

A Trainer looks for entry points, which reads a file of every installed distribution. The answer stays while `sys.path`
and the times of its folders do: what is installed or removed changes these, and `importlib.metadata` itself keeps its
list of distributions as long. Lightning asks through a name of its own (seen on 2.6.6), which forks set to what is
here; the process that is forked keeps its own.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

_ASKER = "lightning_fabric.utilities.registry"
_GROUPS = ("pytorch_lightning.callbacks_factory", "lightning_fabric.callbacks_factory")

_known: "dict[str, tuple[object, EntryPoints]]" = {}
"""Group -> the place as it was, and the answer."""


def look_up() -> None:
    """Asks; to be called before the forks."""
    from importlib.metadata import entry_points

    _known.update({group: (_where(), entry_points(group=group)) for group in _GROUPS})


def use() -> None:
    """Lets Lightning in this process, a fork, have the answer."""
    asker: Any = sys.modules.get(_ASKER)
    if _known and asker is not None:
        from importlib.metadata import entry_points

        if getattr(asker, "entry_points", None) is entry_points:
            asker.entry_points = _answer


def _answer(*, group: str) -> "EntryPoints":
    from importlib.metadata import entry_points

    place, known = _known.get(group, (None, None))
    return entry_points(group=group) if known is None or place != _where() else known


def _where() -> tuple[object, ...]:
    """The path, and when each of its parts changed."""
    found: list[object] = []
    for part in sys.path:
        try:
            found.append((part, os.stat(part or ".").st_mtime_ns))  # noqa: PTH116 - a text, and fast
        except OSError:
            found.append((part, None))
    return tuple(found)
