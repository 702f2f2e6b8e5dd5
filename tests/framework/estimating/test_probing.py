"""A few real steps for their time."""

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers import tiny
from steelyard import planning
from steelyard.estimating import probing
from steelyard.estimating._shapes import Shape
from steelyard.estimating.estimate import Estimate
from steelyard.estimating.probing import Probed, validated
from steelyard.estimating.settings import Planning

PROBED = Probed(
    first=3.0, seconds=0.5, cpu=0.25, first_cpu=2.0, steps=5, validation=6.0, validating=1 / 6, validating_cpu=1 / 12
)


def test_the_rest_is_like_the_probe() -> None:
    assert PROBED.training(11) == pytest.approx(3 + 0.5 * 10 + 1)
    assert PROBED.training_cpu(11) == pytest.approx(2 + 0.25 * 10 + 0.5)
    longer = replace(PROBED, epochs=3, epoch=0.2, epoch_cpu=0.1)
    assert longer.training(11) == pytest.approx(PROBED.training(11) + 0.6)
    assert longer.training_cpu(11) == pytest.approx(PROBED.training_cpu(11) + 0.3)


@pytest.mark.parametrize(("each", "cpu"), [(1, 2.0), (4, 7.0)])
def test_what_is_done_only_once_is_no_part_of_a_usual_batch(each: int, cpu: float) -> None:
    """Where several make a step, one has the optimizer's part, and so many count together."""
    watch: Any = probing._Watch(None, len)
    watch.on_train_start(SimpleNamespace(accumulate_grad_batches=each), SimpleNamespace(device=torch.device("cpu")))
    watch._trained = [probing._Spent(9.0, 9.0), *(probing._Spent(spent, spent) for spent in (22.0, 2.0, 2.0, 2.0, 2.0))]
    watch._shapes = [None] * 6
    assert watch.probed().cpu == watch.probed().seconds == cpu


def test_a_step_that_was_slow_for_its_shape_does_not_make_the_mean_batch_slow() -> None:
    # Lengths 1, 2 and 3 take as many seconds, and of some a plugin counts the operations, which takes twice as long.
    shapes = [Shape(rows=1, numbers=(length,)) for length in (1, 2, 3, 1, 2, 3)]
    work = {shape: 10.0 * shape.size for shape in shapes}
    estimate = Estimate(flops=20, modules={}, memory={}, parameters=0, trainable=0, examples=1, work=work)
    watch: Any = probing._Watch(estimate, len)
    watch._trained = [probing._Spent(float(spent), float(spent)) for spent in (9, 2, 6, 1, 4, 3)]
    watch._shapes = shapes
    assert watch.probed().cpu == pytest.approx(2.0)


def test_what_comes_with_every_epoch_is_told_apart_from_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(probing, "_now", lambda _: probing._Spent(*[float(next(clock))] * 2))
    loops = SimpleNamespace(epoch_loop=SimpleNamespace())
    trainer: Any = SimpleNamespace(accumulate_grad_batches=1, sanity_checking=False, fit_loop=loops)
    watch: Any = probing._Watch(None, len)
    watch.on_train_start(trainer, SimpleNamespace(device=torch.device("cpu")))
    for _ in range(2):
        for number in range(3):
            watch.on_train_batch_start(trainer, None, [0], number)
            watch.on_train_batch_end(trainer, None, None, [0], number)
        watch.on_validation_start(trainer, None)
        for number in range(2):
            watch.on_validation_batch_end(trainer, None, None, [0], number)
        watch.on_validation_end(trainer, None)
        watch.on_train_epoch_end(trainer, None)
    found = watch.probed(epochs=7, validation=4.0)
    # Each look is a second: three between batches in an epoch, and one before the first batch of the second.
    assert (found.seconds, found.validating, found.epoch, found.epochs) == (1.0, 1.0, 3.5, 7)


def none(_: Any) -> tuple[()]:
    return ()


@pytest.mark.parametrize(
    ("batches", "epochs", "every", "expected"),
    [(4.0, 3, 1, 12.0), (4.0, 3, 2, 4.0), (4.0, None, 1, 0.0), (4.0, -1, 1, 0.0), (float("inf"), 3, 1, 0.0)],
)
def test_batches_of_validation(batches: float, epochs: int | None, every: int | None, expected: float) -> None:
    assert validated(batches=batches, epochs=epochs, every=every) == expected


def test_a_probe_takes_six_batches_whatever_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "plugins_of", none)
    config = tiny.config(trainer={"max_epochs": 500, "min_epochs": 400})
    # Short ones are timed more often, up to a number; validation that is left out takes no time.
    monkeypatch.setattr(probing, "MOST", 11)
    many = probing.probe(tiny.config(trainer={"max_epochs": 9, "limit_val_batches": 0}))
    assert (many.steps, many.validating) == (11, 0)
    monkeypatch.setattr(probing, "ENOUGH", 0.0)
    found = probing.probe(config)
    assert found.steps == probing.STEPS
    assert found.epochs == 500
    assert min(found.epoch, found.epoch_cpu) > 0
    assert min(found.first, found.seconds, found.cpu, found.first_cpu) > 0
    assert min(found.validating, found.validating_cpu) > 0
    # No more than the data has.
    short = probing.probe(tiny.config(trainer={"max_epochs": 1}))
    assert short.steps == 2


@pytest.mark.parametrize(
    ("trainer", "words"),
    [({"max_epochs": 2}, "about 6.5 s"), ({"max_epochs": -1}, "unknown: the length is open; 500 ms a batch")],
)
def test_a_plan_tells_time_and_energy(monkeypatch: pytest.MonkeyPatch, trainer: dict[str, Any], words: str) -> None:
    def probed(*_: Any) -> Probed:
        return PROBED

    monkeypatch.setattr(planning, "_probed", probed)
    monkeypatch.setattr(planning, "plugins_of", none)
    config = tiny.config(trainer=trainer)
    text = planning.plan(config, choices=tiny.CHOICES, overrides=[], settings=Planning(probe=True, watts=20)).text()
    # Six batches, and six of validation, a sixth of a second each: 6.5 s, of which 3.75 s are the processor's.
    assert words in text
    assert ("about 75 J, estimated: 3.8 s of CPU time at an assumed 20 W" in text) == (trainer["max_epochs"] > 0)


@pytest.mark.parametrize(
    ("epochs", "batches", "epoch", "expected"),
    [
        (15, 30, 6, 5),
        (3, 30, 6, 3),
        (15, 29, 10, 2),
        (4, None, 6, 4),
        (None, 30, 6, 5),
        (-1, 30, 6, 5),
        (2, 30, float("inf"), 2),
    ],
)
def test_a_training_that_ends_before_its_epochs_validates_less(
    epochs: int | None, batches: int | None, epoch: float, expected: int
) -> None:
    assert probing.reached(epochs, batches=batches, epoch=epoch) == expected
