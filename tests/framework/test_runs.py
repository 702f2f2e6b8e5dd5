from pathlib import Path
from typing import Any

import pytest
import torch
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
