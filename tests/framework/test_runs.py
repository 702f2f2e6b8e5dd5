from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from helpers import tiny
from small_runs import Points, frozen, table_task
from steelyard.adapters import ClassScoring, TextAdapter
from steelyard.problem import Refused
from steelyard.runs import Run, ordered

ROWS = TensorDataset(torch.arange(10))


def seen(loader: Any) -> list[int]:
    return [int(number) for (batch,) in ordered(loader) for number in batch]


def test_a_shuffled_loader_gives_each_example_once_and_in_order() -> None:
    assert seen(DataLoader(ROWS, batch_size=3, shuffle=True)) == list(range(10))


def test_dropping_the_last_batch_does_not_hide_examples() -> None:
    assert seen(DataLoader(ROWS, batch_size=3, shuffle=True, drop_last=True)) == list(range(10))


def test_the_population_of_a_subset_sampler_is_its_subset() -> None:
    assert seen(DataLoader(ROWS, batch_size=3, sampler=SubsetRandomSampler([7, 2, 5]))) == [7, 2, 5]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(ROWS, batch_size=3, sampler=WeightedRandomSampler([1.0] * 10, 10)),
        DataLoader(ROWS, batch_sampler=BatchSampler(SequentialSampler(ROWS), 3, drop_last=False)),
        [torch.zeros(3)],
    ],
)
def test_an_order_that_nobody_can_know_is_refused(loader: Any) -> None:
    with pytest.raises(Refused):
        ordered(loader)


def test_iterable_data_is_refused() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(3))

    with pytest.raises(Refused):
        ordered(DataLoader(Stream(), batch_size=2))


def test_predictions_are_computed_once_and_agree_with_the_model(tmp_path: Path) -> None:
    draft = tiny.draft()
    calls: list[int] = []
    draft.task.register_forward_hook(lambda *_: calls.append(1))
    draft.task.eval()
    run = Run(
        task=draft.task,
        data=draft.data,
        adapter=draft.adapter,
        seed=0,
        device=torch.device("cpu"),
        trained=True,
        folder=tmp_path,
    )
    first, second = run.predict("test"), run.predict("test")
    assert first is second
    assert len(calls) == len(run.loader("test"))
    inputs, targets = (torch.cat(parts) for parts in zip(*run.loader("test"), strict=True))
    outputs = draft.task(inputs)
    assert torch.equal(first.marks, (outputs.argmax(1) == targets).double())
    assert torch.equal(first.targets, targets)
    assert torch.equal(first.decisions, outputs.argmax(1))
    assert torch.allclose(first.losses.mean(), torch.nn.functional.cross_entropy(outputs, targets))
    with pytest.raises(ValueError, match="no split 'dev'"):
        run.predict("dev")


class Ragged(Points):
    """Rows of one to nine tokens, filled up to the longest of their batch."""

    def __init__(self) -> None:
        lengths = torch.randint(1, 10, (40,), generator=torch.Generator().manual_seed(0))
        super().__init__(lengths, lengths % 2, batch_size=4)

    def test_dataloader(self) -> Any:
        def collated(rows: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
            longest = max(int(length) for length, _ in rows)
            mask = torch.stack([(torch.arange(longest) < length).long() for length, _ in rows])
            return {"input_ids": mask * 3, "attention_mask": mask, "labels": torch.stack([label for _, label in rows])}

        return DataLoader(self._data, batch_size=4, collate_fn=collated)


class Long(nn.Module):
    """Decides 1 for texts of five tokens and more."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        score = batch["attention_mask"].sum(dim=1).double() - 4.5
        return torch.stack([-score, score], dim=1)


def test_texts_of_one_length_are_predicted_together_and_come_back_in_their_order():
    asked: list[torch.Size] = []
    model = Long()
    model.register_forward_pre_hook(lambda _, given: asked.append(given[0]["input_ids"].shape))
    run = frozen(table_task(model), Ragged(), adapter=TextAdapter(scoring=ClassScoring(), bounds=None))

    found = run.predict("test")

    lengths = torch.cat([batch["attention_mask"].sum(dim=1) for batch in run.loader("test")])
    assert torch.equal(found.targets, lengths % 2)
    assert torch.equal(found.decisions, (lengths > 4).long())
    ordered = lengths.sort(descending=True).values
    assert [shape[1] for shape in asked] == [int(part[0]) for part in ordered.split(4)]
