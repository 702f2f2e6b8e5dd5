"""`compute=compile`: the training step as machine code of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem
from steelyard.seam import Seam

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft


@dataclass(frozen=True, kw_only=True)
class Compile(Plugin):
    """Puts layers under torch.compile while a training step runs (Ansel et al. 2024).

    Operations are fused and reordered, so losses are equal but for rounding. Nothing else sees a compiled layer:
    validation, measures and checkpoints have the task as it was, and a step whose operations are counted runs as
    written. Compiling takes from seconds to minutes, once for each kind of shape.
    """

    owns = frozenset({Seam.GRAPH})

    layers: Annotated[
        tuple[str, ...], Option("patterns of the layers' names, e.g. model.*; none: what the task is made of")
    ] = ()
    backend: Annotated[
        Literal["inductor", "aot_eager"],
        Option("inductor writes machine code; aot_eager only takes the step apart, and needs no compiler"),
    ] = "inductor"
    mode: Annotated[
        Literal["default", "reduce-overhead", "max-autotune"],
        Option("how long inductor looks for fast code"),
    ] = "default"
    dynamic: Annotated[
        bool | None,
        Option("code for all shapes at once; none: where batches are padded, else as soon as a second shape has come"),
    ] = None

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """There must be a compiler, and layers of that name that nobody else works on from inside."""
        from steelyard_compute._compile import problems

        return problems(self, draft.task)

    def attach(self, draft: Draft) -> Attachment:
        """Wraps the step: the layers are compiled inside it, and themselves outside."""
        from steelyard_compute._compile import CompileAttachment

        attachment = CompileAttachment(self, draft.task, draft.adapter)
        draft.steps[Seam.GRAPH].append(attachment.wrap)
        return attachment
