"""What a budget refuses before anything is spent."""

import math
from collections.abc import Iterator

from steelyard.draft import Draft
from steelyard.estimating.estimate import Estimate
from steelyard.problem import Problem
from steelyard_compute import _energy
from steelyard_compute.budget import Budget

GB = 1e9
LIMITS = ("seconds", "steps", "examples", "flops", "kwh", "gb", "euros")


def problems(plugin: Budget, draft: Draft) -> Iterator[Problem]:
    """No limit, no price, and limits that one step would pass."""
    if all(getattr(plugin, name) is None for name in LIMITS):
        yield Problem("no limit is set", fix="compute.budget.seconds=600")
    if plugin.euros is not None and not plugin.euros_per_kwh + plugin.euros_per_hour:
        yield Problem("euros are limited, but nothing has a price", fix="compute.budget.euros_per_kwh=0.3")
    yield from _energy.problems(plugin.meter, fix="compute.budget.meter=own")
    if (plugin.gb is None and plugin.flops is None) or draft.forecast is None:
        return
    forecast = draft.forecast()
    if forecast.estimate is None:
        what = " ".join(forecast.notes)
        yield Problem(f"whether the training fits is seen only when it runs: {what}", level="note")
    else:
        yield from _short(plugin, forecast.estimate)


def _short(plugin: Budget, estimate: Estimate) -> Iterator[Problem]:
    # On the CPU the allocator keeps some of what was freed; other devices are never asked for less than this.
    need = estimate.process_bytes / GB
    if plugin.gb is not None and need > plugin.gb:
        yield Problem(
            f"the training needs about {need:.2g} GB at a batch of {estimate.examples} examples, "
            f"the budget is {plugin.gb:g}",
            fix=_less(estimate, plugin.gb) or f"compute.budget.gb={rounded_up(need):g}",
        )
    step = max(estimate.flops, estimate.most)
    if plugin.flops is not None and step > plugin.flops:
        yield Problem(
            f"one step needs {step:g} FLOP, the budget is {plugin.flops:g}",
            fix=f"compute.budget.flops={rounded_up(step):g}",
        )


def rounded_up(value: float) -> float:
    """To two digits, and never below: what is offered must be enough."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / scale) * scale


def _less(estimate: Estimate, limit: float) -> str:
    """The override of a batch that may fit into so many GB: what is there without a batch stays, the rest shrinks."""
    stays = sum(estimate.memory.get(kind, 0) for kind in ("weights", "gradients", "optimizer"))
    room = limit * GB * estimate.tensor_bytes / max(estimate.process_bytes, 1) - stays
    per_example = (estimate.tensor_bytes - stays) / max(estimate.examples, 1)
    rows = int(room / per_example) if per_example else 0
    return f"data.batch_size={rows}" if rows >= 1 else ""
