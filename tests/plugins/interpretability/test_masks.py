from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from small_runs import TABLE, Points, digits, digits_task, frozen, table_task
from steelyard.measurement import Measurement, Status
from steelyard.runs import Run
from steelyard_interpretability import Faithfulness
from steelyard_interpretability._faithfulness import FaithfulnessAttachment
from steelyard_interpretability._masks import masked_units
from steelyard_interpretability._trials import tried

FEW = Faithfulness(
    methods=("input_x_gradient",),
    samples=20,
    random_orders=2,
    neighbours=0,
    stages=1,
    draws=4,
    pictures=0,
    baseline="zero",
)


def table() -> Run:
    """Six columns, of which the third decides alone."""
    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    task = table_task(nn.Linear(6, 2, bias=False))
    with torch.no_grad():
        task.model.weight.zero_()
        task.model.weight[:, 2] = torch.tensor([-3.0, 3.0])
    return frozen(task, Points(inputs, (inputs[:, 2] > 0).long()), adapter=TABLE)


def found(run: Run, masks: np.ndarray, folder: Path) -> dict[str, Measurement]:
    np.save(folder / "masks.npy", masks)
    plugin = replace(FEW, masks=str(folder / "masks.npy"))
    rows = [item for item in FaithfulnessAttachment(plugin).measure(run) if isinstance(item, Measurement)]
    return {row.name: row for row in rows if row.name in ("pointing", "mass")}


@pytest.mark.parametrize(("column", "share"), [(2, 1.0), (4, 0.0)])
def test_all_that_speaks_lies_in_the_column_that_decides(column: int, share: float, tmp_path: Path) -> None:
    run = table()
    masks = np.zeros((len(run.predict("val").targets), 6), dtype=bool)
    masks[:, column] = True
    rows = found(run, masks, tmp_path)
    assert [rows["pointing"].value, rows["mass"].value] == [share, share]
    assert rows["pointing"].count == 20
    assert "by chance 0.17" in rows["pointing"].note or rows["pointing"].status is Status.INVALID


@pytest.mark.parametrize(("shape", "said"), [((3, 6), "3 masks"), ((40, 5), "masks of"), ((40, 6), "no explained")])
def test_masks_that_say_nothing_are_skipped_with_the_reason(shape: tuple[int, int], said: str, tmp_path: Path) -> None:
    run = table()
    size = len(run.predict("val").targets)
    rows = found(run, np.zeros((size if shape[0] == 40 else 3, shape[1])), tmp_path)
    assert rows["pointing"].status is Status.SKIPPED
    assert said in rows["pointing"].note


def test_masks_of_pixels_hold_for_all_channels(tmp_path: Path) -> None:
    run = frozen(digits_task(), digits())
    masks = np.zeros((len(run.predict("val").targets), 8, 8))
    masks[:, 2:4, 5] = 0.5
    np.save(tmp_path / "masks.npy", masks)
    trials = tried(run, replace(FEW, samples=2, methods=("saliency",)))
    truth = masked_units(run, tmp_path / "masks.npy", trials)
    assert [row.nonzero()[:, 0].tolist() for row in truth] == [[2 * 8 + 5, 3 * 8 + 5]] * 2
