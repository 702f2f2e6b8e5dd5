"""What is kept of an example is a few numbers, or nothing beyond so many: memory does not grow with the inputs."""

import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import steelyard_stability._adversarial as attacking
import steelyard_stability._assault as assaulting
import steelyard_stability._certified as certifying
import steelyard_stability.corruptions._asking as asking
import steelyard_stability.corruptions._attachment as corrupting
from small_runs import IMAGES, TABLE, Points, frozen, table_task
from steelyard.attachment import Attachment
from steelyard.measuring import looking
from steelyard.plugin import Plugin
from steelyard_stability import (
    Adversarial,
    Calibration,
    Certified,
    Consistency,
    Corruptions,
    Drift,
    Noise,
    Outliers,
    Seeds,
)

FEW, MANY, SHAPE = 32, 128, (3, 32, 32)
SIZE = 3 * 32 * 32
ALL = 10_000


class Peak(TorchDispatchMode):
    """Bytes of the tensors that Python holds, at their most."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self.held = 0, 0, Counter[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.device.type == "cpu":
                store = tensor.untyped_storage()
                place, size = store.data_ptr(), store.nbytes()
                if not self.held[place]:
                    self.now += size
                    self.most = max(self.most, self.now)
                self.held[place] += 1
                weakref.finalize(tensor, self._freed, place, size)
        return made

    def _freed(self, place: int, size: int) -> None:
        self.held[place] -= 1
        if not self.held[place]:
            self.now -= size


def peak(plugin: Plugin, count: int, *, table: bool) -> int:
    generator = torch.Generator().manual_seed(0)
    shape = (SIZE,) if table else SHAPE
    inputs = torch.rand(count, *shape, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 4))
    data = Points(inputs, model(inputs).argmax(dim=1), batch_size=8)
    run = frozen(table_task(model, classes=4), data, adapter=TABLE if table else IMAGES)
    attachment: Attachment = plugin.attach(None)  # type: ignore[arg-type]

    def measured() -> None:
        with looking(run.task):
            for made in attachment.measure(run):
                del made

    tensors = Peak()
    for tensor in (inputs, *model.parameters()):
        # A view of what was there before takes no memory.
        tensors.held[tensor.untyped_storage().data_ptr()] = 1
    with tensors:
        measured()
    # Arrays and what else Python keeps, told apart so that the one counting does not count the other.
    tracemalloc.start()
    measured()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return tensors.most + most


PLUGINS: dict[str, Callable[[], Plugin]] = {
    "adversarial": lambda: Adversarial(examples=ALL, attacks=("fgsm",), radii=(0.01,), masking=False, batch=16),
    "calibration": lambda: Calibration(draws=20),
    "certified": lambda: Certified(examples=ALL, selection=10, looks=(10,), radii=(0.1,), batch=16),
    "consistency": lambda: Consistency(examples=ALL),
    "corruptions": lambda: Corruptions(examples=ALL, kinds=("contrast", "brightness"), severities=(5,), shown=1),
    "drift": lambda: Drift(examples=32, permutations=99),
    "noise": lambda: Noise(levels=(0.1,)),
    "outliers": lambda: Outliers(examples=32),
    "seeds": Seeds,
}


@pytest.mark.parametrize("name", PLUGINS)
def test_what_is_kept_of_an_example_is_far_less_than_the_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assaulting, "CHUNK", 16)
    monkeypatch.setattr(certifying, "CHUNK", 16)
    monkeypatch.setattr(asking, "WINDOW", 16)
    # Pictures show a fixed number of examples, and what drawing takes differs from time to time.
    for place, part in (
        (corrupting, "examples"),
        (attacking, "worst_examples"),
    ):
        monkeypatch.setattr(place, part, lambda *given, **named: iter(()))
    _compare(PLUGINS[name]())


@pytest.mark.slow
def test_columns_of_a_table_are_summed_up_batch_by_batch() -> None:
    _compare(Corruptions(kinds=("jitter",), severities=(5,), examples=32, shown=1), table=True)


def _compare(plugin: Plugin, *, table: bool = False) -> None:
    peak(plugin, FEW, table=table)  # What is imported and built once is not counted.
    few, many = (peak(plugin, count, table=table) for count in (FEW, MANY))

    inputs = (MANY - FEW) * SIZE * 4
    assert many - few < inputs / 3
