# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Poisson sampling: every example enters every batch independently with probability q.

This is the sampling that the accountant assumes (Abadi et al. 2016, section 3.1; Mironov, Talwar and Zhang 2019). Going
through shuffled epochs instead gives away up to four times as much as is accounted for.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

from steelyard.ranks import DealtOut
from steelyard_privacy._batches import Unclear, rows, take
from steelyard_privacy._randomness import Randomness


class Unsuitable(ValueError):
    """A loader that cannot be turned into a Poisson sampler; the second argument is what to do instead."""

    @property
    def fix(self) -> str:
        """What to do instead."""
        return str(self.args[1])

    def __str__(self) -> str:
        return str(self.args[0])


SPARE = 5
"""More gaps are drawn at once than are needed on average: by so many standard deviations."""


AHEAD, FARTHEST = 4096, 64
"""So many examples, of so many steps at most, are drawn at once where no step's draw has to be found again alone."""


def poisson_draw(population: int, *, rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Positions in range(population), each drawn independently with probability `rate`, in ascending order."""
    if rate <= 0 or rate >= 1:
        return np.arange(population if rate >= 1 else 0)
    # The gaps between those that are drawn are geometric: the work goes with the batch, not with the population.
    # In float32 the probability of being drawn would be off by up to 2**-24.
    found: list[NDArray[np.float64]] = []
    last, complete = -1, False
    while not complete:
        expected = (population - 1 - last) * rate
        uniform = generator.random(int(expected + SPARE * math.sqrt(expected)) + SPARE)
        places = last + np.cumsum(np.floor(np.log1p(-uniform) / math.log1p(-rate)) + 1)
        inside = int(np.searchsorted(places, population))
        complete = inside < len(places)
        found.append(places[:inside])
        last = int(places[-1])
    return (found[0] if len(found) == 1 else np.concatenate(found)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Population:
    """Who can be drawn, read from the loader that the data module made.

    Attributes:
        indices: Positions in the data set.
        batch_size: The expected size of a batch.
    """

    indices: Sequence[int]
    batch_size: int

    @property
    def rate(self) -> float:
        """Q = B / N."""
        return self.batch_size / len(self.indices)

    @property
    def steps_per_epoch(self) -> int:
        """N / B, rounded: an epoch sees every example once in expectation."""
        return max(1, round(len(self.indices) / self.batch_size))


def population_of(loader: Any) -> Population:
    """The population behind a loader.

    Raises:
        Unsuitable: If its sampling cannot be replaced without changing what is trained on.
    """
    if isinstance(loader, PoissonLoader):
        return loader.population
    if not isinstance(loader, DataLoader):
        raise Unsuitable(
            f"train_dataloader gives {type(loader).__name__}, not one torch DataLoader: nobody knows who can be drawn",
            "return one DataLoader from train_dataloader",
        )
    if type(loader).__iter__ is not DataLoader.__iter__:
        raise Unsuitable(
            f"{type(loader).__name__} iterates in a way of its own, which Poisson sampling would go past",
            "use a plain DataLoader, and put what it does into the data set or collate_fn",
        )
    if isinstance(loader.dataset, IterableDataset):
        raise Unsuitable(
            f"{type(loader.dataset).__name__} is an IterableDataset: nothing is drawn from a stream by a known chance",
            "use a data set with __len__ and __getitem__",
        )
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        raise Unsuitable(
            f"batches are made by {type(loader.batch_sampler or loader.sampler).__name__}; DP-SGD has to draw them",
            "give the DataLoader a batch_size and no batch_sampler",
        )
    indices = _indices(loader)
    if len(indices) == 0:
        raise Unsuitable("the training split is empty", "give it examples")
    return Population(indices=indices, batch_size=min(loader.batch_size, len(indices)))


def _indices(loader: DataLoader[Any]) -> Sequence[int]:
    sampler = loader.sampler
    if isinstance(sampler, SubsetRandomSampler):
        indices = [int(index) for index in sampler.indices]
        if len(set(indices)) != len(indices):
            raise Unsuitable(
                "the SubsetRandomSampler names examples more than once, so one person would count several times",
                "name every index once",
            )
        return indices
    plain = isinstance(sampler, SequentialSampler) or (isinstance(sampler, RandomSampler) and not sampler.replacement)
    if not plain:
        raise Unsuitable(
            f"{type(sampler).__name__} prefers examples or repeats them: the accountant needs one probability for all",
            "use shuffle=True, and weights in the loss instead of in the sampler",
        )
    dataset: Any = loader.dataset
    return range(len(dataset))


def rebuilt(
    source: DataLoader[Any], dataset: Dataset[Any], *, sampler: Any, collate_fn: Callable[[Any], Any]
) -> DataLoader[Any]:
    """The loader, workers and all, over another data set."""
    return DataLoader(
        dataset,
        batch_size=source.batch_size,
        sampler=sampler,
        drop_last=source.drop_last,
        collate_fn=collate_fn,
        num_workers=source.num_workers,
        pin_memory=source.pin_memory,
        worker_init_fn=source.worker_init_fn,
        timeout=source.timeout,
        generator=source.generator,
        multiprocessing_context=source.multiprocessing_context,
        prefetch_factor=source.prefetch_factor,
        persistent_workers=source.persistent_workers,
    )


@final
@dataclass(kw_only=True)
class PoissonLoader(DealtOut):
    """Batches drawn by Poisson sampling, made by the workers and the collate function of the original loader.

    A batch may be empty: it then has the same structure with zero rows.

    Attributes:
        source: The loader of the data module.
        population: Who can be drawn.
        randomness: Where the draws come from.
        step: How many steps were taken so far.
        watch: Told of every draw: the positions in the population.
        part: Number and count of the processes that share each batch: all draw it whole, and each takes its part.
        wanted: Says of a step, by its number, how many are taken without chance, which only a rehearsal may; or None.
        drawn: Number of examples drawn for the batch given last.
        batches: Number of batches given so far: tells one batch from the next.
    """

    source: DataLoader[Any]
    population: Population
    randomness: Randomness
    step: Callable[[], int]
    watch: Callable[[NDArray[np.int64]], None]
    part: tuple[int, int] = (0, 1)
    wanted: Callable[[int], int | None] = lambda step: None
    drawn: int = 0
    batches: int = 0
    _waiting: deque[int] = field(default_factory=deque[int], repr=False)
    _loader: DataLoader[Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        source = self.source
        self._loader = DataLoader(
            source.dataset,
            batch_sampler=_Draws(self),
            collate_fn=source.collate_fn,
            num_workers=source.num_workers,
            pin_memory=source.pin_memory,
            worker_init_fn=source.worker_init_fn,
            timeout=source.timeout,
            multiprocessing_context=source.multiprocessing_context,
            prefetch_factor=source.prefetch_factor,
            persistent_workers=source.persistent_workers,
        )

    @property
    def batch_size(self) -> int:
        """Of a batch in expectation."""
        return self.population.batch_size

    def __len__(self) -> int:
        return self.population.steps_per_epoch

    def __iter__(self) -> Iterator[Any]:
        self._waiting.clear()
        for batch in self._loader:
            self.drawn = self._waiting.popleft()
            self.batches += 1
            self._check(batch)
            yield batch if self.drawn else take(batch, slice(0, 0))

    def state_dict(self) -> dict[str, int]:
        """Tells Lightning that this loader can go on in the middle of an epoch: every draw stands alone."""
        return {"steps": self.step()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing to do: the next draw follows from the steps taken."""

    def draws(self) -> Iterator[list[int]]:
        """Indices, one list per batch; workers may run ahead, in order."""
        indices = self.population.indices
        for drawn, places in self._positions():
            self.watch(drawn)
            if self.part[1] > 1:
                places = places[self.part[0] :: self.part[1]]
            self._waiting.append(len(places))
            # Nothing can be collated from no example, so an empty batch starts as one that is cut to zero rows.
            yield [indices[index] for index in places] or [indices[0]]

    def _positions(self) -> Iterator[tuple[NDArray[np.int64], list[int]]]:
        """Positions in the population, for each batch as an array and once more as numbers.

        The draws of several steps are one draw from as many copies of the population.
        """
        start, size, rate = self.step(), len(self.population.indices), self.population.rate
        together = 1 if self.randomness.repeats else max(1, min(AHEAD // self.population.batch_size, FARTHEST))
        for first in range(0, len(self), together):
            steps = min(together, len(self) - first)
            generator = self.randomness.draws(step=start + first)
            wanted = self.wanted(start + first)
            if wanted is None:
                drawn = poisson_draw(steps * size, rate=rate, generator=generator)
            else:
                drawn = np.arange(min(wanted, size))
            ends = np.searchsorted(drawn, size * np.arange(1, steps)).tolist()
            drawn %= size
            places = drawn.tolist()
            for begin, end in pairwise([0, *ends, len(places)]):
                yield drawn[begin:end], places[begin:end]

    def _check(self, batch: Any) -> None:
        found = rows(batch)
        if found != max(1, self.drawn):
            raise Unclear(
                f"{self.drawn} examples were drawn, but the batch has {found} rows: "
                "the collate function must keep one row per example"
            )


@final
@dataclass(frozen=True)
class _Draws:
    """The batch sampler that torch's DataLoader wants."""

    loader: PoissonLoader

    def __iter__(self) -> Iterator[list[int]]:
        return self.loader.draws()

    def __len__(self) -> int:
        return len(self.loader)
