"""The live half of `compute=precision`."""

from collections.abc import Iterator
from typing import final

import torch

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.runs import Run
from steelyard.statistics import proportion

SPLIT = "test"


@final
class PrecisionAttachment(Attachment):
    """Lightning does the training; this only compares answers."""

    @torch.no_grad()
    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The test decisions in 16 bits beside those in 32."""
        adapter, scoring = run.adapter, run.adapter.scoring
        changed, count = 0, 0
        for raw in run.loader(SPLIT):
            batch = run.to_device(raw)
            targets = adapter.targets(batch)
            exact = scoring.decisions(adapter.outputs(run.task, batch), targets)
            with torch.autocast(run.device.type, dtype=torch.bfloat16):
                coarse = scoring.decisions(adapter.outputs(run.task, batch), targets)
            changed += int((~scoring.same(exact, coarse)).sum())
            count += len(targets)
        yield proportion(
            "changed_decisions",
            changed,
            count,
            better=Better.LOWER,
            split=SPLIT,
            meaning="share of the test examples whose answer changes when the model computes in 16 bits",
            note="bfloat16 autocast against float32, the same trained weights",
        )
