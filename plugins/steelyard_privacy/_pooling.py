"""What a task logs while its batch is worked through in pieces, as if it had seen the batch at once."""

from dataclasses import dataclass, field
from typing import Any, final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor


@dataclass(slots=True)
class _Entry:
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    last: Any
    values: list[Tensor] = field(default_factory=list[Tensor])
    weights: list[int] = field(default_factory=list[int])


@final
class Pool:
    """While it is entered, `task.log` gathers; at the end each name is logged once for all `count` examples.

    Args:
        task: Whose.
        count: Of the examples.

    Attributes:
        weight: The number of examples of a piece, to be set before it.
    """

    def __init__(self, task: LightningModule, *, count: int) -> None:
        self.weight = 0
        self._task, self._count = task, count
        self._entries: dict[str, _Entry] = {}

    def __enter__(self) -> "Pool":
        # Past `nn.Module.__setattr__`, which looks for weights first.
        vars(self._task)["log"] = self.gather
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        vars(self._task).pop("log", None)
        if kind is None:
            self._replay()

    def gather(self, name: str, value: Any, *arguments: Any, **options: Any) -> None:
        """Stands in for `LightningModule.log`."""
        entry = self._entries.setdefault(name, _Entry(arguments, options, value))
        entry.last = value
        if isinstance(value, Tensor | float | int):
            entry.values.append(torch.as_tensor(value).detach())
            entry.weights.append(self.weight)

    def _replay(self) -> None:
        """With the mean over the examples, or the reduction that the task asked for."""
        for name, entry in self._entries.items():
            options = {**entry.options, "batch_size": self._count}
            self._task.log(name, _reduced(entry), *entry.arguments, **options)


def _reduced(entry: _Entry) -> Any:
    if len(entry.values) <= 1:
        return entry.last
    values = torch.stack([value.to(entry.values[0].device, torch.float32) for value in entry.values])
    how = entry.options.get("reduce_fx", "mean")
    name = how if isinstance(how, str) else getattr(how, "__name__", "")
    if name in ("mean", "avg"):
        weights = torch.tensor(entry.weights, dtype=values.dtype, device=values.device)
        return (values * weights).sum() / weights.sum()
    return {"sum": values.sum(), "min": values.min(), "max": values.max()}.get(name, values[-1])
