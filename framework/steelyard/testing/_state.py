"""Everything that a plugin could leave behind, in comparable form."""

import os
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steelyard._torch_private import hook_count
from steelyard._untyped import named_modules
from steelyard.draft import Draft
from steelyard.enforcement import fingerprint, snapshot
from steelyard.narrowing import is_mapping

State = Mapping[str, Any]
"""What a user understands -> a value compared by `==`."""


def streams() -> dict[str, Any]:
    """The state of every global random stream."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "the global random stream of torch": torch.get_rng_state().numpy().tobytes(),
        "the global random stream of NumPy": (kind, np.asarray(keys).tobytes(), *rest),
        "the global random stream of Python": random.getstate(),
    }


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the whole process.

    Attributes:
        get: Reads it.
        put: Takes what `get` gave.
    """

    get: Callable[[], Any]
    put: Callable[[Any], Any]


def _set_cudnn(flags: tuple[bool, bool]) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = flags


SETTINGS = {
    "torch's default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "torch's matmul precision": Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch's deterministic mode": Setting(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    ),
    "torch's number of threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "whether torch records gradients": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "the flags of cuDNN": Setting(
        lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic), _set_cudnn
    ),
    "NumPy's handling of floating-point errors": Setting(np.geterr, lambda kept: np.seterr(**kept)),
    "the working folder": Setting(Path.cwd, os.chdir),
}


def settings() -> dict[str, Any]:
    """Settings of the whole process."""
    return {name: setting.get() for name, setting in SETTINGS.items()}


@contextmanager
def contained() -> Generator[None]:
    """Puts the settings of the process back, so that the next check sees who changes them, too."""
    before = settings()
    try:
        yield
    finally:
        for name, setting in SETTINGS.items():
            setting.put(before[name])


def live(draft: Draft) -> dict[str, Any]:
    """A draft in use: its parts (by identity), gradients, overrides, random streams, settings."""
    return {
        **{name: part.value for name, part in snapshot(draft).items()},
        "gradients (.grad)": {name: _gradient(weight) for name, weight in draft.task.named_parameters()},
        **remains(draft),
        **streams(),
    }


def remains(draft: Draft) -> dict[str, Any]:
    """What could be left on a task and its data, comparable between two runs of the same task."""
    modules = named_modules(draft.task)
    weights = dict(draft.task.named_parameters())
    return {
        "hooks on layers": {name: hook_count(module) for name, module in modules.items()},
        "train and eval flags": {name: module.training for name, module in modules.items()},
        "which weights are trained": {name: weight.requires_grad for name, weight in weights.items()},
        "overrides and attributes on layers": {name: _public(module) for name, module in modules.items()},
        "attributes of weights": {name: _public(weight) for name, weight in weights.items()},
        "overrides and attributes of the data module": _public(draft.data),
        **settings(),
    }


def weights(module: nn.Module) -> dict[str, Any]:
    """Weights and buffers to the bit."""
    return {"the weights and buffers": fingerprint(module)}


def differences(before: State, now: State) -> Iterator[str]:
    """The names of what is not as it was, with the places where there are several."""
    for name in {**before, **now}:
        one, other = before.get(name), now.get(name)
        if one != other:
            yield f"{name}{_places(one, other)}"


def _places(one: Any, other: Any) -> str:
    if not (is_mapping(one) and is_mapping(other)):
        return ""
    places = [key or "the task itself" for key in {**one, **other} if one.get(key) != other.get(key)]
    return f": {', '.join(places[:5])}{', ...' if len(places) > 5 else ''}"


def _public(thing: object) -> tuple[str, ...]:
    # Private attributes are the machinery of torch and Lightning.
    return tuple(sorted(name for name in vars(thing) if not name.startswith("_")))


def _gradient(weight: Tensor) -> bytes | None:
    return None if weight.grad is None else weight.grad.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
