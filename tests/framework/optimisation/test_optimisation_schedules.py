import math

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything

from steelyard.models import MLP
from steelyard.optimisation import Constant, Cosine, Linear, OneCycle
from steelyard.problem import Refused
from steelyard.tasks import Classification
from steelyard.testing.tiny import TinyImages


def rates(schedule, *, steps, optimizer=None):
    """The rate of each step, as a fraction of the one in the config."""
    optimizer = optimizer or torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, steps=steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step()
    return seen


def test_the_cosine_is_half_a_cosine_after_a_line():
    wanted = [0.25, 0.5, 0.75] + [0.1 + 0.9 * (1 + math.cos(math.pi * at / 7)) / 2 for at in range(7)]
    assert rates(Cosine(warmup=0.3, final=0.1), steps=10) == pytest.approx(wanted)


def test_the_line_and_the_constant():
    assert rates(Linear(final=0.5), steps=4) == pytest.approx([1.0, 0.875, 0.75, 0.625])
    assert rates(Constant(warmup=0.5), steps=4) == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_one_cycle_goes_up_and_further_down():
    seen = rates(OneCycle(warmup=0.25), steps=40)
    assert seen[0] == pytest.approx(1 / 25)
    assert max(seen) == pytest.approx(1.0, abs=0.01)
    assert 5 < seen.index(max(seen)) < 15
    assert seen[-1] < 0.01


@pytest.mark.parametrize(("momentum", "lowest"), [(0.9, 0.85), (0.0, 0.0)])
def test_one_cycle_turns_the_momentum_where_there_is_one(momentum, lowest):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0, momentum=momentum)
    scheduler = OneCycle()(optimizer, steps=20)
    seen = []
    for _ in range(20):
        seen.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    assert min(seen) == pytest.approx(lowest, abs=0.01)


@pytest.mark.parametrize("schedule", [Cosine(warmup=0.2), Linear(), Constant(warmup=0.1), OneCycle()])
def test_a_run_ends_where_its_schedule_ends(schedule):
    task = train(schedule, max_epochs=3)
    rate = task.optimizers().param_groups[0]["lr"]
    assert rate == pytest.approx(0.2 if isinstance(schedule, Constant) else 0.0, abs=1e-5)


def test_a_schedule_without_an_end_is_refused():
    with pytest.raises(Refused, match="no end in steps") as caught:
        train(Cosine(), max_epochs=-1, max_time="00:00:00:01")
    assert caught.value.problems[0].fix == "trainer.max_epochs=30"


@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_a_warmup_that_is_no_fraction_is_refused(warmup):
    with pytest.raises(Refused, match=r"scheduler\.warmup"):
        Cosine(warmup=warmup)


def train(schedule, **trainer):
    seed_everything(0, verbose=False)
    data = TinyImages()
    model = MLP(input_shape=(1, 6, 6), classes=3, hidden=(8,))
    task = Classification(
        model=model, optimizer=lambda weights: torch.optim.SGD(weights, lr=0.2), classes=3, scheduler=schedule
    )
    Trainer(
        **trainer,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(task, data)
    return task
