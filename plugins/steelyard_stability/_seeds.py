"""The live half of `stability=seeds`: the answers of one run, kept for its siblings."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import final

from steelyard.attachment import Attachment
from steelyard.measurement import Artefact, Measurement, Status, Table
from steelyard.runs import Run
from steelyard_stability._answers import COLUMNS, TABLE

SPLIT = "test"


@final
class SeedsAttachment(Attachment):
    """Keeps what the model decides on every test example."""

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """The answers; what they are worth only siblings tell."""
        scoring, found = run.adapter.scoring, run.predict(SPLIT)
        yield Table(
            name=TABLE,
            title="What the model decides on each test example",
            columns=COLUMNS,
            rows=[
                [_word(scoring.wanted(target)), _word(scoring.said(decision)), round(float(mark), 9)]
                for target, decision, mark in zip(found.targets, found.decisions, found.marks, strict=True)
            ],
            split=SPLIT,
            shown=False,
        )
        yield Measurement(
            name="churn",
            status=Status.SKIPPED,
            note="takes siblings: steelyard compare RUNS tells it, and the page of a sweep with seed=0,1,2,3,4",
            meaning="share of the test examples on which two runs that differ in their seed give different answers",
            split=SPLIT,
        )


def _word(numbers: Sequence[int]) -> str:
    """One number as it is; several as a hash, since only equality counts."""
    if len(numbers) == 1:
        return str(numbers[0])
    return "h" + hashlib.blake2b(repr([*numbers]).encode(), digest_size=8).hexdigest()
