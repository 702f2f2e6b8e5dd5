"""CPU time of the hooks of telemetry, a budget and the train guard in a training step, without the step.

Run: python benchmarks/hook_cost.py

The hooks are called by hand, so that no noise of a training hides them. Goals: telemetry and a budget together 2 % of
20 ms, which is 400 us; the guard 3 %, which is 600 us, on 40 layers with batch norms whose step takes about that long.
"""

import os
import sys
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from torch import nn

from small_runs import TABLE
from steelyard_compute import Budget, Cost
from steelyard_compute._budget import BudgetAttachment
from steelyard_compute._cost import CostAttachment
from steelyard_stability import TrainGuard
from steelyard_stability._train_guard import TrainGuardAttachment

STEPS, TURNS = 2000, 7
LAYERS, WIDTH = 40, 128


class Module(nn.Module):
    """A task as far as the hooks look at it."""

    device = torch.device("cpu")


def per_step(attachment: Any, *, size: int) -> float:
    """CPU seconds of both hooks of a step, the median of several turns."""
    trainer: Any = SimpleNamespace(
        world_size=1,
        global_step=0,
        accumulate_grad_batches=1,
        train_dataloader=None,
        should_stop=False,
        precision="32-true",
    )
    module: Any = Module()
    batch = (torch.zeros(size, 64), torch.zeros(size, dtype=torch.long))
    attachment.on_train_start(trainer, module)
    turns: list[float] = []
    for _ in range(TURNS + 1):
        begun = time.process_time()
        for number in range(STEPS):
            attachment.on_train_batch_start(trainer, module, batch, number)
            trainer.global_step += 1
            attachment.on_train_batch_end(trainer, module, None, batch, number)
        turns.append((time.process_time() - begun) / STEPS)
    return median(turns[1:])


class Deep(Module):
    """Forty layers with batch norms."""

    def __init__(self) -> None:
        super().__init__()
        layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())]
        self.layers = nn.Sequential(*layers)


def guard_per_step(plugin: TrainGuard) -> tuple[float, float]:
    """CPU seconds of the guard's hooks of a step, and of the step itself with a batch of 128, as medians of turns."""
    torch.manual_seed(0)
    module: Any = Deep()
    # So slow that no step is a spike, whose evidence would be timed, too.
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-7)
    trainer: Any = SimpleNamespace(world_size=1, global_step=0, optimizers=[optimizer], lr_scheduler_configs=[])
    attachment = TrainGuardAttachment(plugin, private=False)
    attachment.on_train_start(trainer, module)
    batch = torch.randn(128, WIDTH)
    guards: list[float] = []
    steps: list[float] = []
    for _ in range(TURNS + 1):
        guard = step = 0.0
        for number in range(100):
            begun = time.process_time()
            attachment.on_train_batch_start(trainer, module, batch, number)
            there = time.process_time()
            loss = module.layers(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            back = time.process_time()
            attachment.on_before_backward(trainer, module, loss)
            attachment.on_before_optimizer_step(trainer, module, optimizer)
            judged = time.process_time()
            optimizer.step()
            stepped = time.process_time()
            trainer.global_step += 1
            attachment.on_train_batch_end(trainer, module, None, batch, number)
            guard += there - begun + judged - back + time.process_time() - stepped
            step += back - there + stepped - judged
        guards.append(guard / 100)
        steps.append(step / 100)
    return median(guards[1:]), median(steps[1:])


def main() -> None:
    torch.set_num_threads(1)
    limits = Budget(steps=10**9, seconds=1e9, kwh=1e6, flops=1e30)
    found = {
        "telemetry": per_step(CostAttachment(TABLE, Cost()), size=64),
        "a budget of steps, seconds, kWh and FLOPs": per_step(BudgetAttachment(limits, TABLE), size=64),
    }
    for name, seconds in found.items():
        print(f"{name}: {1e6 * seconds:.1f} us a step")
    total = sum(found.values())
    print(f"together {1e6 * total:.1f} us: {total / 0.02:.2%} of 20 ms")
    for policy in ("skip", "rewind"):
        guard, step = guard_per_step(TrainGuard(policy=policy))
        print(
            f"the train guard ({policy}) on {LAYERS} layers: {1e6 * guard:.1f} us a step: {guard / 0.02:.2%} of 20 ms, "
            f"{guard / step:.2%} of this step of {1e3 * step:.1f} ms"
        )


if __name__ == "__main__":
    main()
