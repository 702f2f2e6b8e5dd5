"""Batches of different shapes: their largest for memory, all of them for operations."""

import itertools
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.data import DataLoader

from small_runs import frozen, train
from steelyard.adapters import ClassScoring
from steelyard.adapters.text import TextAdapter
from steelyard.data.tokens import ByLength, Padding, TokenExamples
from steelyard.draft import Draft
from steelyard.estimating import rehearsal
from steelyard.estimating._flops import FlopCount
from steelyard.estimating._shapes import Shape, spread_out, total
from steelyard.estimating.rehearsal import Estimate, rehearse
from steelyard.measurement import Measurement
from steelyard_compute._cost import CostAttachment

TEXT = TextAdapter(scoring=ClassScoring(), bounds=None)
ROWS, WIDTH = 8, 16


def batch_of(*lengths: int, rows: int = ROWS) -> Shape:
    return Shape(rows=rows, numbers=tuple(rows * length for length in lengths))


def encoder_decoder(shape: Shape) -> float:
    """Linear layers and attention on both sides, and attention between them."""
    source, target = shape.lengths
    return shape.rows * (3 + 700 * source + 500 * target + 4 * source**2 + 6 * source * target + 2 * target**2)


@pytest.mark.parametrize("rows", [ROWS, 3])
def test_six_shapes_of_two_lengths_give_all_others(rows: int) -> None:
    shapes = [batch_of(source, target) for source, target in itertools.product((4, 9, 30), (3, 7, 20, 41))]
    seen = {**dict.fromkeys(shapes, 3), batch_of(17, 23, rows=rows): 2}
    counted = {shape: encoder_decoder(shape) for shape in spread_out([*seen])}
    assert len(counted) == 6
    found = total(counted, seen)
    assert found.value == pytest.approx(sum(encoder_decoder(shape) * count for shape, count in seen.items()), rel=1e-9)
    assert 0.3 < found.told < 0.9


def test_with_few_shapes_the_polynomial_is_a_line_or_the_mean() -> None:
    seen = {batch_of(2): 1, batch_of(4): 1, batch_of(10): 1}
    assert total({batch_of(4): 40.0}, seen).value == pytest.approx(3 * 40)
    assert total({batch_of(2): 20.0, batch_of(4): 40.0}, seen).value == pytest.approx(20 + 40 + 100)


def test_examples_of_one_length_cost_the_same_in_a_smaller_batch() -> None:
    found = total({batch_of(4): 80.0}, {batch_of(4): 5, batch_of(4, rows=2): 1})
    assert found.value == 5 * 80 + 20
    assert found.told == 0


def test_ragged_batches_are_told_by_their_numbers_alone() -> None:
    boxes = [Shape(rows=1, numbers=(30,) * count) for count in (1, 2, 4)]
    assert total({boxes[0]: 30.0, boxes[2]: 120.0}, {boxes[1]: 1}).value == pytest.approx(60)


class Reader(LightningModule):
    """Attention over a text whose batches are as long as their longest."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.three, self.head = nn.Embedding(50, WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, batch: Any) -> Tensor:
        query, key, value = self.three(self.embed(batch["input_ids"])).unsqueeze(1).chunk(3, dim=-1)
        return self.head(scaled_dot_product_attention(query, key, value)[:, 0].mean(dim=1))

    def training_step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch), batch["labels"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Sentences(LightningDataModule):
    """Texts of 2 to 60 tokens, in batches of about the same length."""

    def __init__(self, *, least: int = 2, rest: int = 0) -> None:
        super().__init__()
        lengths = torch.randint(least, 61, (ROWS * 20 + rest,), generator=torch.Generator().manual_seed(1)).tolist()
        lengths[0] = 60
        self.examples = TokenExamples([[1] * length for length in lengths], [0] * len(lengths))

    def train_dataloader(self) -> Any:
        order = ByLength(self.examples, batch_size=ROWS)
        return DataLoader(self.examples, batch_size=ROWS, sampler=order, collate_fn=Padding(pad=0))

    def test_dataloader(self) -> Any:
        return DataLoader(self.examples, batch_size=ROWS, collate_fn=Padding(pad=0))


def foreseen(data: Sentences, **trainer: Any) -> Estimate:
    quiet = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_progress_bar": False}
    draft = Draft(task=Reader(), data=data, trainer={**quiet, **trainer}, adapter=TEXT, seed=0)
    return rehearse((), draft)


def test_memory_is_that_of_the_longest_batch_and_operations_are_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Sentences()
    estimate = foreseen(data)

    alike = foreseen(Sentences(least=60))
    assert estimate.tensor_bytes == alike.tensor_bytes
    assert "shapes" in estimate.uneven
    assert not alike.uneven

    torch.manual_seed(0)
    batches, task = [*data.train_dataloader()], Reader()
    with FlopCount() as count:
        for batch in batches:
            task.training_step(batch).backward()
    # Their order, and so who shares a batch, is drawn anew.
    assert estimate.flops == pytest.approx(count.total / len(batches), rel=0.01)
    assert estimate.flops < 0.75 * alike.flops

    # A step that takes long is tried no more often than its operations need.
    monkeypatch.setattr(rehearsal, "LONG", 1)
    short = foreseen(data)
    assert len(short.work) < len(estimate.work)
    assert (short.flops, short.memory) == (estimate.flops, estimate.memory)


@pytest.mark.slow
def test_a_step_of_several_uneven_batches_and_an_early_end_are_foreseen_too() -> None:
    once = foreseen(Sentences(), max_steps=1)
    twice = foreseen(Sentences(), accumulate_grad_batches=2, limit_train_batches=2)
    assert twice.flops == pytest.approx(2 * once.flops, rel=1e-6)
    assert once.flops == foreseen(Sentences()).flops


def test_the_receipt_counts_all_lengths_from_some() -> None:
    data, cost = Sentences(rest=3), CostAttachment(TEXT)
    truth = FlopCount()

    class Counted(Reader):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            truth.start()

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            truth.stop()

    task = train(Counted, data, callbacks=[cost], limit_val_batches=0)
    found = {row.name: row for row in cost.measure(frozen(task, data, adapter=TEXT)) if isinstance(row, Measurement)}
    assert found["train_flops"].value == pytest.approx(truth.total, rel=1e-9)
    assert "told from them" in found["train_flops"].note
    assert found["step_seconds"].count is not None
    assert found["step_seconds"].count >= 21 - 12

    resumed = CostAttachment(TEXT)
    resumed.load_state_dict(cost.state_dict())
    again = {row.name: row for row in resumed.measure(frozen(task, data, adapter=TEXT)) if isinstance(row, Measurement)}
    assert again["train_flops"].value == found["train_flops"].value
