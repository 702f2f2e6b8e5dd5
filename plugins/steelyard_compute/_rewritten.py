"""What a finished model loses when its layers are written anew: rows that several levers share."""

from collections.abc import Iterator, Mapping

import torch

from steelyard.measurement import Better, Measurement
from steelyard.runs import Predictions, Run
from steelyard.statistics import mean_interval, proportion
from steelyard_compute._paired import paired_loss
from steelyard_compute._rounded_layers import Swap, swapped

SPLIT = "test"


@torch.no_grad()
def predictions(run: Run, swap: Swap) -> Predictions:
    """Those of the test split with other layers in place; the run's own are put back."""
    # Another run, which has no predictions yet.
    fresh = Run(
        task=run.task,
        data=run.data,
        adapter=run.adapter,
        seed=run.seed,
        device=run.device,
        trained=run.trained,
        folder=run.folder,
    )
    with swapped(run.task, swap):
        return fresh.predict(SPLIT)


def losses(run: Run, after: Predictions, at: Mapping[str, str | float]) -> Iterator[Measurement]:
    """Marks, loss and decisions after the change beside those of the model as it was trained, paired by example."""
    before = run.predict(SPLIT)
    lost, interval = paired_loss(before.marks, after.marks)
    count = len(before.marks)
    yield Measurement(
        name="marks_lost",
        value=lost,
        better=Better.LOWER,
        interval=interval,
        count=count,
        at=at,
        split=SPLIT,
        note=f"{float(before.marks.double().mean()):.4f} before; paired by example",
        meaning="how much worse the changed model answers: accuracy lost, where an answer is right or wrong",
    )
    loss, around = mean_interval(after.losses - before.losses)
    yield Measurement(
        name="loss_gained",
        value=loss,
        better=Better.LOWER,
        unit="nat",
        interval=around,
        count=count,
        at=at,
        split=SPLIT,
        note="mean loss of an example, paired",
        meaning="how much surer the model was of what is right, before the change",
    )
    changed = int((~run.adapter.scoring.same(before.decisions, after.decisions)).sum())
    yield proportion(
        "changed_decisions",
        changed,
        count,
        better=Better.LOWER,
        split=SPLIT,
        at=dict(at),
        meaning="share of the test examples that the changed model answers otherwise",
    )
