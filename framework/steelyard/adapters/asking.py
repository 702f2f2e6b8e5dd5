"""How a task is asked for its output: by which method, with what, and which part of the answer it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse

FORWARD = "forward"
STEPS = ("predict_step", "test_step", "validation_step")
"""Methods of a LightningModule that may give the output, the likeliest first."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The question.

    Attributes:
        method: The task's method that gives the output. `forward` gets the inputs, any other the batch (and the batch
            index 0 where it wants one).
        whole: Whether `forward`, too, gets the whole batch.
        output: Key, place or attribute of the output in what the method gives; None where that is the output.
    """

    method: str = FORWARD
    whole: bool = False
    output: str | int | None = None

    def ask(self, task: LightningModule, batch: Any, *inputs: Any, plain: bool) -> Any:
        """The output.

        Args:
            task: Whose.
            batch: The batch.
            inputs: What `forward` gets of it.
            plain: Whether the output must be one tensor.

        Raises:
            Refused: If the task has no such method, or what it gives no such part.
        """
        if self.method == FORWARD:
            _has_forward(task)
            given = task(batch) if self.whole else task(*inputs)
        else:
            found: Any = getattr(task, self.method, None)
            if not callable(found):
                raise refuse(
                    f"{type(task).__name__} has no method {self.method!r}",
                    fix=f"task.adapter.method={_likeliest(task)}",
                )
            given = found(batch, 0) if "batch_idx" in signature(found).parameters else found(batch)
        return self._part(task, given, plain=plain)

    def _part(self, task: LightningModule, given: Any, *, plain: bool) -> Any:
        key = self.output
        if key is None:
            if plain and not isinstance(given, Tensor):
                parts, first = _parts(given)
                raise refuse(
                    f"{type(task).__name__}.{self.method} gives {parts}, and which of it is the output is not said",
                    fix=f"+task.adapter.output={first}" if first is not None else "+task.adapter.method=my_method",
                )
            return given
        try:
            part = getattr(given, key) if isinstance(key, str) and not is_mapping(given) else _entry(given, key)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            parts, first = _parts(given)
            raise refuse(
                f"{type(task).__name__}.{self.method} gives {parts}, without {key!r}",
                fix=f"task.adapter.output={'null' if first is None else first}",
            ) from error
        return part


def _entry(given: Any, key: Any) -> Any:
    return given[key]


def _has_forward(task: LightningModule) -> None:
    if getattr(type(task), FORWARD, None) in (nn.Module.forward, LightningModule.forward):
        raise refuse(
            f"{type(task).__name__} has no forward: which of its methods gives the output for a batch is not said",
            fix=f"+task.adapter.method={_likeliest(task)}",
        )


def _likeliest(task: LightningModule) -> str:
    own = [name for name in STEPS if is_overridden(name, task, LightningModule)]
    return own[0] if own else "my_method"


def _parts(given: Any) -> tuple[str, str | int | None]:
    """What there is in words, and the likeliest output: what is called so, or a table of numbers."""
    if is_mapping(given):
        entries: Mapping[Any, Any] = given
        said = f"a mapping with {', '.join(map(str, entries))}"
    elif is_sequence(given):
        entries = dict(enumerate(given))
        said = f"{len(given)} things"
    else:
        return f"a {type(given).__name__}", None
    tables = [key for key, value in entries.items() if isinstance(value, Tensor) and value.dim() == 2]
    named = [key for key in tables if "logit" in str(key)]
    return said, next(iter([*named, *tables]), None)
