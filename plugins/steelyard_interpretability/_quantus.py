# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Measures of the library Quantus by name: what it wants to have, and what it gives back.

One touch is not its public face: version 0.6 calls `numpy.trapz`, which numpy 2.4 no longer has, so the name is lent to
it for the time of a call. A test says when that is no longer needed.
"""

import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steelyard.adapters import Adapter
from steelyard_interpretability.methods.question import Question
from steelyard_interpretability.methods.registry import METHODS

QUIET = {"return_aggregate": False, "disable_warnings": True, "display_progressbar": False}
SINGLE: Mapping[str, Mapping[str, Any]] = {
    "PixelFlipping": {"return_auc_per_sample": True},
    "MPRT": {"return_average_correlation": True},
    "SmoothMPRT": {"return_average_correlation": True},
}
"""What makes one number of a measure that would give a curve."""


class Asked(nn.Module):
    """A task as Quantus wants to have it: inputs as pictures or lines (N, channels, ...) -> logits (N, classes).

    Args:
        task: Of classes.
        adapter: Of a modality whose examples have one shape.
        batch: One example of the data, for what the inputs do not say.
    """

    def __init__(self, task: Any, adapter: Adapter, batch: Any) -> None:
        super().__init__()
        self.task = task
        self._adapter, self._batch = adapter, batch

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits."""
        rows = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        view = self._adapter.inputs(self.task, self._batch)
        batch = self._adapter.replace(
            self._adapter.take(self._batch, rows), inputs.reshape(-1, *view.shape[1:]).to(view)
        )
        return self._adapter.outputs(self.task, batch)


def classes() -> dict[str, Any]:
    """The measures of the installed Quantus, by the name of their class."""
    library = import_module("quantus")
    base = library.Metric
    return {
        name: found
        for name, found in vars(library).items()
        if isinstance(found, type) and issubclass(found, base) and found is not base
    }


def values(
    name: str, *, method: str, question: Question, attributions: Tensor, decisions: Tensor, model: Asked, seed: int
) -> NDArray[np.float64]:
    """One number for each example (N,).

    Args:
        name: Of the measure's class.
        method: What explains, where the measure asks for further explanations.
        question: What was explained.
        attributions: (N, ...).
        decisions: Classes (N,).
        model: The trained model.
        seed: Of everything that Quantus draws.

    Raises:
        ValueError: If there is no such measure, it needs what is not there, or gives no one number for each example.
    """
    known = classes()
    if name not in known:
        raise ValueError(f"Quantus has no measure {name!r}: {', '.join(sorted(known))}")
    settings = {**QUIET, **SINGLE.get(name, {})}
    if "num_classes" in signature(known[name].__init__).parameters:
        with torch.no_grad():
            settings["num_classes"] = int(model(question.inputs[:1]).shape[1])

    def explain(model: Any, inputs: Any, targets: Any, **others: Any) -> NDArray[Any]:
        x = torch.as_tensor(np.asarray(inputs)).to(question.inputs).reshape(-1, *question.inputs.shape[1:])
        chosen = torch.as_tensor(np.asarray(targets)).long().to(x.device)

        def score(given: Tensor, rows: Tensor) -> Tensor:
            return model(given).gather(1, chosen[rows][:, None])[:, 0]

        rows = torch.arange(len(x), device=x.device) % len(question.inputs)
        asked = replace(question.only(rows), inputs=x, score=score, probability=score, task=model)
        return _summed(METHODS[method].explain(asked).detach())

    inputs = _wide(question.inputs)
    with _borrowed(seed):
        try:
            found = known[name](**settings)(
                model=model,
                x_batch=inputs.cpu().numpy(),
                y_batch=decisions.cpu().numpy(),
                a_batch=_summed(attributions),
                s_batch=None,
                channel_first=True,
                explain_func=explain,
                explain_func_kwargs={},
                model_predict_kwargs={},
                softmax=True,
                device=str(question.inputs.device),
                batch_size=len(inputs),
            )
        # Quantus raises whatever comes to hand where a measure does not fit the model or the numbers.
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise ValueError(f"{name} of Quantus fails here: {reason}") from error
    try:
        numbers = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.shape != (len(inputs),):
        raise ValueError(f"{name} of Quantus gives no one number for each example")
    return numbers


def _wide(inputs: Tensor) -> Tensor:
    """As pictures or lines with channels; a row of a table is a line with one."""
    return inputs[:, None] if inputs.dim() == 2 else inputs


def _summed(attributions: Tensor) -> NDArray[Any]:
    wide = attributions.detach().double()
    return (wide[:, None] if wide.dim() == 2 else wide.sum(dim=1, keepdim=True)).cpu().numpy()


@contextmanager
def _borrowed(seed: int) -> Generator[None]:
    """Global random streams of this seed (whoever measures puts them back), and the name that numpy lost."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    missing = not hasattr(np, "trapz")
    if missing:
        setattr(np, "trapz", np.trapezoid)  # noqa: B010 - numpy's stubs do not know the name
    try:
        yield
    finally:
        if missing:
            delattr(np, "trapz")
