"""`compute.quantize`: what would the finished model lose, and save, with fewer bits for each weight?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from steelyard.option import Option
from steelyard.plugin import Plugin
from steelyard.problem import Problem

if TYPE_CHECKING:
    from steelyard.attachment import Attachment
    from steelyard.draft import Draft
    from steelyard.measurement import Artefact, Measurement
    from steelyard.stored import StoredRun

Format = Literal["int8", "int8_dynamic", "int4"]


@dataclass(frozen=True, kw_only=True)
class Quantize(Plugin):
    """Rounds the weights of the finished model and weighs it again; the run's own weights stay as they are.

    `int8` keeps 8 bits for each weight and one scale for each row; `int4` keeps 4 bits, and a scale and an offset for
    each group of weights. Both make numbers of 32 bits of them again whenever the layer is called, which saves memory
    and costs time. `int8_dynamic` also rounds what goes into a linear layer and multiplies in 8 bits, by torch's own
    kernels on the CPU, which saves time where layers are large (Jacob et al. 2018).

    Rounded are Linear, Embedding, the convolutions and the Conv1D of transformers; `int8_dynamic` takes Linear alone.
    """

    formats: Annotated[tuple[Format, ...], Option("number formats that are tried")] = ("int8", "int8_dynamic", "int4")
    group: Annotated[int, Option("weights that share a scale in int4", ge=2)] = 32
    rounds: Annotated[int, Option("times that the clock is read for each format", ge=1)] = 11

    def preflight(self, draft: Draft) -> Iterator[Problem]:
        """There must be something to try."""
        del draft
        if not self.formats:
            yield Problem("no format is named", fix="compute.quantize.formats=[int8]")

    def attach(self, draft: Draft) -> Attachment:
        """Claims no seam."""
        del draft
        from steelyard_compute._quantize import QuantizeAttachment

        return QuantizeAttachment(self)

    def compare(self, runs: Sequence[StoredRun]) -> Iterator[Measurement | Artefact]:
        """What each format saved and lost, run by run."""
        from steelyard_compute._side_by_side import formats

        return formats(runs)
