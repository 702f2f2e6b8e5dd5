"""Plugins of a third party that founds the challenge `fairness`; what stands beside this file makes it installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from steelyard import Option, Plugin

if TYPE_CHECKING:
    from steelyard import Attachment, Draft


@dataclass(frozen=True, kw_only=True)
class Parity(Plugin):
    """Compares the groups."""

    threshold: Annotated[float, Option("largest gap", unit="fraction", ge=0, le=1)] = 0.1
    samples: Annotated[int, Option("examples", ge=1)] = 64
    mode: Annotated[Literal["mean", "worst"], Option("over groups")] = "mean"

    def attach(self, draft: Draft) -> Attachment:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Gap(Plugin):
    """Has one setting that the user has to give."""

    column: Annotated[str, Option("the protected column")]

    def attach(self, draft: Draft) -> Attachment:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Needy(Plugin):
    """Stands on a library that nobody has."""

    needs: ClassVar[Mapping[str, str]] = MappingProxyType({"no_such_library": "strangers[needy]"})

    def attach(self, draft: Draft) -> Attachment:
        raise NotImplementedError


class Thing:
    """No plugin at all."""
