"""Poisson sampling: who is drawn, how often, from whom."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from steelyard_privacy._randomness import Randomness
from steelyard_privacy._sampling import PoissonLoader, Population, Unsuitable, poisson_draw, population_of

ROWS = TensorDataset(torch.arange(60))


def loader_of(source: DataLoader[Any], *, seed: int | None = None) -> PoissonLoader:
    return PoissonLoader(
        source=source,
        population=population_of(source),
        randomness=Randomness(seed),
        step=lambda: 0,
        watch=lambda _: None,
    )


def step_by_step() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [poisson_draw(25, rate=0.12, generator=generator).tolist() for _ in range(4000)]


def many_steps_at_once() -> list[list[int]]:
    loader = loader_of(DataLoader(TensorDataset(torch.arange(25)), batch_size=3))
    loader.randomness.agree(bytes(16))
    found: list[list[int]] = []
    loader.watch = lambda drawn: found.append(drawn.tolist())
    while len(found) < 4000:
        list(loader.draws())
    return found[:4000]


@pytest.mark.parametrize("drawn", [step_by_step, many_steps_at_once])
def test_each_example_is_drawn_independently_with_the_rate(drawn: Callable[[], list[list[int]]]) -> None:
    draws, population, rate = 4000, 25, 0.12
    table = np.zeros((draws, population))
    for row, places in enumerate(drawn()):
        table[row, places] = 1
    # Sizes follow the binomial distribution, which shuffled batches do not: chi-square over the sizes.
    sizes = np.bincount(table.sum(axis=1).astype(int), minlength=population + 1)[:9]
    expected = draws * binom.pmf(np.arange(9), population, rate)
    statistic = float(((sizes - expected) ** 2 / expected).sum())
    assert chi2.sf(statistic, 8) > 1e-4
    # Each example's own frequency, and the correlation of any two examples.
    error = 5 * math.sqrt(rate * (1 - rate) / draws)
    assert np.abs(table.mean(axis=0) - rate).max() < error
    correlation = np.corrcoef(table.T) - np.eye(population)
    assert np.abs(correlation).max() < 5 / math.sqrt(draws)
    # Nor does a step know of the one before.
    again = table[1:].ravel() - rate, table[:-1].ravel() - rate
    assert abs(float((again[0] * again[1]).mean())) < 5 * rate * (1 - rate) / math.sqrt(len(again[0]))


def test_the_extremes_of_the_rate() -> None:
    generator = np.random.default_rng(0)
    assert poisson_draw(5, rate=1.0, generator=generator).tolist() == [0, 1, 2, 3, 4]
    assert len(poisson_draw(5, rate=0.0, generator=generator)) == 0


@pytest.mark.parametrize(("count", "batch_size"), [(93, 1), (60000, 256), (1100, 256), (100, 30), (7, 7), (3, 2)])
def test_rate_and_length_are_exact(count: int, batch_size: int) -> None:
    population = Population(indices=range(count), batch_size=batch_size)
    assert population.rate == batch_size / count
    assert population.steps_per_epoch == round(count / batch_size)


def test_the_loader_gives_as_many_batches_as_it_says() -> None:
    loader = loader_of(DataLoader(ROWS, batch_size=7, shuffle=True))
    assert len(list(loader)) == len(loader) == 9


def test_only_the_original_population_is_drawn_from() -> None:
    held = SubsetRandomSampler(list(range(10, 20)))
    for batch in loader_of(DataLoader(ROWS, batch_size=8, sampler=held)):
        assert set(batch[0].tolist()) <= set(range(10, 20))
    for batch in loader_of(DataLoader(Subset(ROWS, [3, 5]), batch_size=1)):
        assert set(batch[0].tolist()) <= {3, 5}


def test_an_empty_batch_keeps_the_structure() -> None:
    batches = list(loader_of(DataLoader(ROWS, batch_size=1, shuffle=True), seed=1))
    empty = [batch for batch in batches if len(batch[0]) == 0]
    # About 60 / e of 60 draws with one expected example.
    assert 10 < len(empty) < 35
    assert empty[0][0].dtype == torch.int64


def test_the_draws_are_fresh_whatever_the_global_seed() -> None:
    def draws(seed: int | None) -> list[list[int]]:
        torch.manual_seed(0)
        return [batch[0].tolist() for batch in loader_of(DataLoader(ROWS, batch_size=8), seed=seed)]

    assert draws(None) != draws(None)
    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(10))


class Odd(SequentialSampler):
    """A sampler of the user's own, which no rule knows."""


class Own(DataLoader[Any]):
    """A loader that changes its batches on the way."""

    def __iter__(self) -> Any:
        return (batch for batch in super().__iter__())


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (Own(ROWS, batch_size=4), "Own iterates"),
        (DataLoader(Stream(), batch_size=2), "IterableDataset"),
        (DataLoader(ROWS, batch_size=4, sampler=WeightedRandomSampler([1.0] * 60, 60)), "WeightedRandomSampler"),
        (DataLoader(ROWS, batch_size=4, sampler=RandomSampler(ROWS, replacement=True)), "RandomSampler"),
        (DataLoader(ROWS, batch_sampler=BatchSampler(SequentialSampler(ROWS), 4, False)), "BatchSampler"),
        (DataLoader(ROWS, batch_size=None), "SequentialSampler"),
        (DataLoader(ROWS, batch_size=4, sampler=SubsetRandomSampler([1, 1, 2])), "more than once"),
        (DataLoader(ROWS, batch_size=4, sampler=SubsetRandomSampler([])), "empty"),
        ([DataLoader(ROWS), DataLoader(ROWS)], "list"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused_with_the_alternative(loader: Any, words: str) -> None:
    with pytest.raises(Unsuitable, match=words) as refusal:
        population_of(loader)
    assert refusal.value.fix


def test_collating_several_rows_from_one_example_is_an_error() -> None:
    def twice(samples: Any) -> Any:
        rows = torch.stack([sample[0] for sample in samples])
        return torch.cat([rows, rows])

    with pytest.raises(ValueError, match="one row per example"):
        list(loader_of(DataLoader(ROWS, batch_size=8, collate_fn=twice)))


def test_a_rehearsal_says_how_many_it_wants_of_a_step_and_leaves_the_others_to_chance() -> None:
    loader = loader_of(DataLoader(ROWS, batch_size=10), seed=0)
    assert loader.batch_size == 10
    chance = list(loader.draws())
    loader.wanted = {1: 17, 3: 1000}.get
    found = list(loader.draws())
    assert [len(places) for places in found] == [len(chance[0]), 17, len(chance[2]), 60, *map(len, chance[4:])]
    assert len(set(found[1])) == 17
