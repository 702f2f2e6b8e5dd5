"""CPU time of the hooks of telemetry and a budget in a training step, without the step.

Run: python benchmarks/hook_cost.py

The hooks are called by hand, so that no noise of a training hides them. Goal: 2 % of 20 ms, which is 400 us.
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

STEPS, TURNS = 2000, 7


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


if __name__ == "__main__":
    main()
