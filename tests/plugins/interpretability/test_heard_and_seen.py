"""What is heard of a sound, and what is seen of a whole table."""

import io
import wave

import numpy as np
import pytest
import torch
from torch import nn

from planted import LENGTH, PLANTED, grown
from small_runs import Points, frozen, table_task
from steelyard.adapters import ClassScoring
from steelyard.adapters.table import TableAdapter
from steelyard.measurement import Picture, Sound
from steelyard_interpretability import Attribution
from steelyard_interpretability._attribution import AttributionAttachment
from steelyard_interpretability._heard import best, masked
from steelyard_interpretability._overview import places_of

ODD = ("<b>a</b>", "b/../c", "\u202e\u05e9", "\U0001f600")


def test_a_fifth_of_the_windows_stay_and_none_that_spoke_against() -> None:
    worth = torch.tensor([0.1, -9.0, 0.5, 0.0, 0.2, 0.3, -1.0, -1.0, -1.0, -1.0])
    assert best(worth).nonzero()[:, 0].tolist() == [2, 5]
    assert best(-worth.abs()).sum() == 0
    assert best(torch.tensor([1.0])).tolist() == [True]


@pytest.mark.parametrize("fade", [0, 1, 3])
def test_nothing_is_heard_of_what_was_taken_away_and_the_middle_is_as_it_was(fade: int) -> None:
    keep = torch.tensor([False] * 10 + [True] * 20 + [False] * 10)
    left = masked(torch.ones(40), keep=keep, fade=fade)
    assert left[~keep].abs().max() == 0
    assert left[10 + 2 * fade : 30 - 2 * fade].tolist() == pytest.approx([1.0] * (20 - 4 * fade))
    if fade:
        assert 0 < float(left[10 + fade]) < 1
        assert float(left.diff().abs().max()) <= 1 / (2 * fade + 1) + 1e-6


def test_a_sound_is_heard_whole_and_then_only_what_spoke_for_the_decision() -> None:
    run = grown(PLANTED["audio"], seed=0, trained=False, count=40)[0]
    plugin = Attribution(methods=("input_x_gradient",), samples=2, pictures=3, removals=2, random_orders=1)
    items = [item for item in AttributionAttachment(plugin).measure(run) if isinstance(item, Sound)]
    assert [item.name for item in items] == ["heard_1", "heard_2"]
    for item in items:
        with wave.open(io.BytesIO(item.wav)) as file:
            assert file.getframerate() == LENGTH
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        left = samples[-LENGTH:]
        assert 0.7 <= float((left == 0).mean()) < 1
        middle = left[np.abs(left) > 0]
        assert len(middle) > 0
        assert "silence in place of the others" in item.alt
        assert item.split == "val"


def test_a_table_is_seen_whole_with_the_column_that_decides_first() -> None:
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data.copy_(torch.tensor([[0.0, 0.1, -5.0, 0.5], [0.0, -0.1, 5.0, -0.5]]))
    adapter = TableAdapter(scoring=ClassScoring(), bounds=None, columns=ODD)
    run = frozen(table_task(nn.Sequential(layer)), Points(inputs, (inputs[:, 2] > 0).long()), adapter=adapter)
    plugin = Attribution(methods=("integrated_gradients", "ablation"), samples=12, pictures=0, removals=2)
    seen = {item.name: item for item in AttributionAttachment(plugin).measure(run) if isinstance(item, Picture)}
    assert seen["columns"].png.startswith(b"\x89PNG")
    assert "all 12 explained examples" in seen["columns"].title
    assert f"by integrated gradients: {ODD[2]} (" in seen["columns"].alt


def test_a_column_that_is_always_the_same_has_the_middle_of_the_scale() -> None:
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]], dtype=torch.double)
    assert places_of(values).tolist() == [[0.0, 0.5], [1.0, 0.5], [0.5, 0.5]]
