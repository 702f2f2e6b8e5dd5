"""Texts and images that begin small and grow."""

from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from helpers import tiny
from small_runs import frozen, train
from steelyard.adapters import Adapter, ClassScoring, TokenScoring
from steelyard.adapters.text import TextAdapter
from steelyard.data.tokens import Padding, TokenExamples
from steelyard.draft import Draft
from steelyard.estimating._flops import FlopCount
from steelyard.estimating.rehearsal import rehearse
from steelyard.measurement import Measurement
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.tasks import Classification, LanguageModel
from steelyard.testing import PluginSuite
from steelyard_compute import Accumulation, ProgressiveResize, SequenceWarmup
from steelyard_compute._cost import CostAttachment
from steelyard_compute._growing import grown
from steelyard_compute._progressive_resize import ProgressiveResizeAttachment, shrunk
from steelyard_compute._sequence_warmup import SequenceWarmupAttachment

TEXT = TextAdapter(scoring=ClassScoring(), bounds=None)


@pytest.mark.parametrize(
    ("share", "size"), [(0.0, 8), (0.1, 8), (0.2, 16), (0.5, 32), (0.99, 56), (1.0, 60), (7.0, 60)]
)
def test_a_size_grows_in_steps_and_ends_whole(share: float, size: int) -> None:
    assert grown(least=8, whole=60, share=share, multiple=8) == size


def test_what_is_no_larger_than_the_least_stays() -> None:
    assert grown(least=8, whole=5, share=0.0, multiple=8) == 5


class Sentences(LightningDataModule):
    """40 texts of 20 tokens in batches of 4."""

    max_length = 20

    def __init__(self, *, follow: bool = False) -> None:
        super().__init__()
        texts = torch.randint(1, 30, (40, 20), generator=torch.Generator().manual_seed(0)).tolist()
        self.examples = TokenExamples(texts, texts if follow else [0] * 40)

    def train_dataloader(self) -> Any:
        return DataLoader(self.examples, batch_size=4, collate_fn=Padding(pad=0), shuffle=True)

    def test_dataloader(self) -> Any:
        return DataLoader(self.examples, batch_size=4, collate_fn=Padding(pad=0))


class Validated(Sentences):
    """The same, with a split for validation."""

    val_dataloader = Sentences.test_dataloader


class Reader(nn.Module):
    """The mean of the embeddings, or each of them."""

    def __init__(self, *, each: bool = False) -> None:
        super().__init__()
        self.embed, self.head, self.each = nn.Embedding(30, 8), nn.Linear(8, 30 if each else 2), each

    def forward(self, batch: Any) -> Tensor:
        found = self.head(self.embed(batch["input_ids"]))
        return found if self.each else found.mean(dim=1)


class Sorting(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = Reader()

    def forward(self, batch: Any) -> Tensor:
        return self.model(batch)

    def training_step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch), batch["labels"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Looks(Callback):
    """Shapes that reach the steps, and what is left of the batch afterwards."""

    def __init__(self) -> None:
        self.shapes: list[dict[str, tuple[int, ...]]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.shapes.append({name: tuple(tensor.shape) for name, tensor in batch.items()})


def drafted(task: LightningModule, data: LightningDataModule, adapter: Adapter = TEXT, **trainer: Any) -> Draft:
    return Draft(task=task, data=data, trainer=trainer, adapter=adapter, seed=0)


def warmed(task: Any, data: LightningDataModule, *callbacks: Callback, **adapter: Any) -> tuple[Any, list[Any]]:
    found, looks = TextAdapter(bounds=None, **adapter), Looks()
    plugin = SequenceWarmup(fraction=0.5, least=4, multiple=4)
    lever = SequenceWarmupAttachment(plugin, drafted(task(), data, found))
    trained = train(task, data, callbacks=[lever, looks, *callbacks], limit_val_batches=0)
    return (lever, trained), looks.shapes


def test_texts_grow_over_the_first_half_of_the_steps() -> None:
    cost, truth = CostAttachment(TEXT), FlopCount()

    class Counted(Sorting):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            truth.start()

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            truth.stop()

    data = Sentences()
    (lever, task), shapes = warmed(Counted, data, cost, scoring=ClassScoring())
    lengths = [4, 4, 8, 12, 16, 20, 20, 20, 20, 20]
    assert [shape["input_ids"] for shape in shapes] == [(4, length) for length in lengths]
    assert [shape["attention_mask"] for shape in shapes] == [(4, length) for length in lengths]
    assert all(shape["labels"] == (4,) for shape in shapes)
    run = frozen(task, data, adapter=TEXT)
    (row,) = lever.measure(run)
    assert row.value == pytest.approx(1 - sum(lengths) / 200)
    # Who counts operations sees the texts as they are worked on.
    found = {row.name: row for row in cost.measure(run) if isinstance(row, Measurement)}
    assert found["train_flops"].value == pytest.approx(truth.total)

    again = SequenceWarmupAttachment(SequenceWarmup(), drafted(task, data))
    again.load_state_dict(lever.state_dict())
    assert next(iter(again.measure(run))).value == row.value


def test_what_is_to_be_said_of_each_token_is_cut_with_it() -> None:
    def task() -> LanguageModel:
        return LanguageModel(model=Reader(each=True), optimizer=partial(torch.optim.SGD, lr=0.1))

    _, shapes = warmed(task, Validated(follow=True), scoring=TokenScoring())
    assert [shape["labels"] for shape in shapes] == [shape["input_ids"] for shape in shapes]


def test_a_batch_comes_back_whole_and_a_rehearsal_sees_all_of_it() -> None:
    data = Sentences()
    lever = SequenceWarmupAttachment(SequenceWarmup(least=4), drafted(Sorting(), data))
    lever._end = 10.0
    batch = next(iter(data.train_dataloader()))
    before = {name: tensor.clone() for name, tensor in batch.items()}
    step: Any = type("Trainer", (), {"global_step": 0})
    lever.on_train_batch_start(step, Sorting(), batch, 0)
    assert batch["input_ids"].shape == (4, 4)
    lever.on_exception(step, Sorting(), RuntimeError())
    assert all(torch.equal(batch[name], before[name]) for name in before)

    quiet = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_progress_bar": False}
    chosen = [Selected("compute.sequence_warmup", SequenceWarmup())]
    one, other = (rehearse(levers, drafted(Sorting(), data, **quiet)) for levers in ([], chosen))
    assert (one.tensor_bytes, one.flops) == (other.tensor_bytes, other.flops)


def test_what_has_no_length_or_no_pixels_is_refused() -> None:
    with pytest.raises(Refused, match="nothing to shorten in image"):
        preflight([Selected("compute.sequence_warmup", SequenceWarmup())], tiny.draft())
    unknown = drafted(Sorting(), Sentences())
    vars(unknown.data)["max_length"] = None
    with pytest.raises(Refused, match="not known where the warm-up ends"):
        preflight([Selected("compute.sequence_warmup", SequenceWarmup())], unknown)
    with pytest.raises(Refused, match="nothing to shrink in text"):
        preflight([Selected("compute.progressive_resize", ProgressiveResize())], drafted(Sorting(), Sentences()))
    with pytest.raises(Refused, match="does not take images of 4 x 4"):
        preflight([Selected("compute.progressive_resize", ProgressiveResize())], tiny.draft())
    levers = [
        Selected("compute.accumulation", Accumulation()),
        Selected("compute.sequence_warmup", SequenceWarmup()),
    ]
    with pytest.raises(Refused, match="batches of the run"):
        preflight(levers, drafted(Sorting(), Sentences()))


def test_an_open_end_is_refused() -> None:
    lever = SequenceWarmupAttachment(SequenceWarmup(), drafted(Sorting(), Sentences()))
    with pytest.raises(Refused, match="its length is open"):
        train(Sorting, Sentences(), callbacks=[lever], epochs=-1, limit_val_batches=0)


def pixels() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )


def test_images_grow_and_are_given_back() -> None:
    draft = tiny.draft(data={"limit": 160, "batch_size": 16})

    def make() -> Classification:
        return Classification(model=pixels(), optimizer=partial(torch.optim.SGD, lr=0.1), classes=10)

    draft.task = make()
    plugin = ProgressiveResize(fraction=0.5, least=0.5, multiple=2)
    preflight([Selected("compute.progressive_resize", plugin)], draft)
    lever, sizes = ProgressiveResizeAttachment(plugin, draft), list[tuple[int, ...]]()

    class Looks(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            sizes.append(tuple(batch[0].shape[-2:]))

    task = train(make, draft.data, callbacks=[lever, Looks()], limit_val_batches=0)
    assert sizes == [(4, 4)] * 3 + [(6, 6)] * 2 + [(8, 8)] * 5
    (row,) = lever.measure(frozen(task, draft.data))
    assert row.value == pytest.approx(1 - (3 * 16 + 2 * 36 + 5 * 64) / 640)


def test_shrinking_averages_and_keeps_the_range() -> None:
    images = torch.zeros(1, 1, 8, 8)
    images[:, :, :, 4:] = 1
    small = shrunk(images, height=4, width=4)
    assert small.mean() == pytest.approx(0.5)
    assert 0 <= small.min() <= small.max() <= 1
    assert torch.equal(small[0, 0, :, 0], torch.zeros(4))


class TestProgressiveResize(PluginSuite):
    plugin = ProgressiveResize(multiple=1)

    def task(self, data: LightningDataModule) -> LightningModule:
        model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
        return Classification(model=model, optimizer=partial(torch.optim.SGD, lr=0.2), classes=3)


class TestSequenceWarmup(PluginSuite):
    plugin = SequenceWarmup(least=4, multiple=4)

    def task(self, data: LightningDataModule) -> LightningModule:
        return Classification(model=Reader(), optimizer=partial(torch.optim.SGD, lr=0.1), classes=2)

    def data(self) -> LightningDataModule:
        return Validated()

    def adapter(self, data: LightningDataModule) -> Adapter:
        return TEXT
