"""The contract: what a plugin is. Read this file first.

A plugin answers one challenge in one way. It has two halves:

* the **declaration**, a subclass of `Plugin`: a frozen dataclass whose fields are the option's schema, defaults, types
  and documentation at once. Its module imports neither torch nor numpy nor the library it stands on;
* the **attachment**, made by `attach`: a Lightning callback with one more method, `measure`. One per run; it lives in
  an underscored module that `attach` imports.

The smallest plugin that measures something:

    @dataclass(frozen=True, kw_only=True)
    class Weights(Plugin):
        '''Counts the weights that are exactly zero.'''

        tolerance: Annotated[float, Option("absolute value below which a weight counts as zero", ge=0)] = 0.0

        def attach(self, draft: Draft) -> Attachment:
            from mypackage._weights import WeightsAttachment

            return WeightsAttachment(self)

Its name and its challenge come from its entry point, `<challenge>.<plugin>`, in the group `steelyard.plugins`:

    [project.entry-points."steelyard.plugins"]
    "compute.weights" = "mypackage.weights:Weights"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from steelyard.lever import Lever
from steelyard.measurement import Artefact, Measurement
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft
    from steelyard.stored import StoredRun


@dataclass(frozen=True, kw_only=True)
class Plugin(ABC):
    """One answer to one challenge, declared: stateless, comparable, serialisable.

    Fields may be bool, int, float, str, Path, StrEnum and Literal by value, `X | None`, tuples and dicts of these, and
    nested frozen dataclasses. Their meaning, unit and range stand in `Annotated[..., Option(...)]`. No field is called
    `log`, since Lightning overwrites that name on every callback.
    """

    owns: ClassVar[frozenset[Seam]] = frozenset()
    """Seams that this plugin changes and that nobody else may touch."""
    shares: ClassVar[frozenset[Seam]] = frozenset()
    """Seams that this plugin changes in a way that others may, too."""
    alone: ClassVar[str | None] = None
    """Why training with it takes one process; "" where several will do. None: several only if it claims no seam."""
    lever: ClassVar[Lever | None] = None
    """What makes it worth proposing to somebody who is short of memory or time; None: it saves neither in training."""
    needs: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Import name -> requirement to install, e.g. {"peft": "steelyard[lora]"}."""

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """All that stands in this plugin's way. Reads types and shapes, changes nothing.

        It runs on a draft without weights too (`steelyard plan` builds on the meta device), and again at the start of
        the fit where layers were made late in `configure_model`.
        """
        del draft
        return iter(())

    @abstractmethod
    def attach(self, draft: Draft) -> Attachment:
        """The live half. May change the draft within the claimed seams; the core refuses any other change."""

    def spends(self, draft: Draft) -> Mapping[str, float]:
        """What one run uses up that adds up over runs, e.g. {"epsilon": 8.0}; `steelyard plan -m` shows the sum.

        Like `preflight` it may see a draft without weights, and changes nothing.
        """
        del draft
        return {}

    def trials(self, config: Mapping[str, Any]) -> Iterator[Sequence[str]]:
        """Overrides of the sibling runs that this plugin needs, e.g. shadow models or seeds."""
        del config
        return iter(())

    def compare(self, runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
        """What can only be said over several finished runs, read from their folders."""
        del runs
        return iter(())
