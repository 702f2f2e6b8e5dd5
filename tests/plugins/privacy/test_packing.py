"""MKL's buffers in private training: made once, for batches of every size."""

import platform
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from helpers.glibc import GLIBC
from private_runs import FEATURES, Examples, Task, examples, fit
from steelyard.estimating._buffers import Buffers, buffer, products
from steelyard_privacy._packing import make_buffer
from steelyard_privacy.dp_sgd import DPSGD

MKL = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
WIDE = 400


class Watching(TorchDispatchMode):
    """Notes the products, and the bytes of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[tuple[str, tuple[int, ...]]] = []
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.keys += [("product", call.numbers) for call in products(func, args)]
        if isinstance(out, Tensor):
            self.bytes += out.untyped_storage().nbytes()
        return out


def buffers_of(watching: Watching) -> int:
    return len(Buffers().new(dict.fromkeys(watching.keys)))


def watched(task: nn.Module) -> Watching:
    with Watching() as watching:
        make_buffer(task)
    return watching


@MKL
def test_a_private_fit_makes_one_buffer_whatever_sizes_it_draws() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 40), nn.ReLU(), nn.Linear(40, WIDE), nn.ReLU(), nn.Linear(WIDE, 3))
    plugin = DPSGD(target_epsilon=None, noise_multiplier=1.0)
    loader = DataLoader(examples(1600), batch_size=160, shuffle=True)
    with Watching() as watching:
        fit(plugin, Task(model), Examples(lambda: loader), max_epochs=1)
    sizes = {numbers[0] for _, numbers in watching.keys if numbers[1:] == (40, WIDE) and numbers[0] > 100}
    assert len(sizes) > 5
    assert buffers_of(watching) == 1
    # Without what is made first, the smaller batches before the largest leave one each.
    watching.keys.remove(watching.keys[0])
    assert buffers_of(watching) > 2


@MKL
@pytest.mark.parametrize(
    ("layers", "product"),
    [
        ([nn.Linear(500, 200), nn.Linear(16, 20)], (384, 384, 200)),
        # The way back needs the larger one, and here the sum of the gradients.
        ([nn.Linear(500, 190)], (384, 190, 500)),
        ([nn.Linear(300, 300)], (300, 192, 300)),
        ([nn.Linear(500, 20_000)], (384, 384, 6400)),
        ([nn.Linear(64, 200, dtype=torch.float64), nn.Linear(300, 300)], (300, 192, 300)),
        ([nn.Linear(64, 200, device="meta"), nn.Embedding(999, 64), nn.Linear(2, 3)], None),
    ],
)
def test_it_is_that_of_the_largest_product_of_a_linear_layer(layers: list[nn.Module], product: Any) -> None:
    """In single precision on the CPU, with as many rows as are packed at once."""
    watching = watched(nn.ModuleList(layers))
    assert [numbers for _, numbers in watching.keys] == ([] if product is None else [product])


@MKL
def test_what_is_multiplied_takes_20_mib_at_most() -> None:
    found = watched(nn.Linear(1000, 7000))
    assert [numbers for _, numbers in found.keys] == [(384, 384, 6400)]
    assert buffer(384, 384, 6400) == buffer(5000, 1000, 7000)
    assert found.bytes <= 20 * 2**20


def test_it_leaves_no_trace_in_the_task_and_no_draw() -> None:
    layer = nn.Linear(64, 64)
    before, state = layer.weight.clone(), torch.get_rng_state()
    make_buffer(layer)
    assert torch.equal(layer.weight, before)
    assert layer.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


# Bytes of the heap by which batches of growing sizes come to more, through all products of two layers.
LEFT = f"""
{GLIBC}
import sys, torch
from torch import nn
from steelyard_privacy._packing import make_buffer
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(784, 1024), nn.Linear(1024, 512))
rows = torch.zeros(400, 784), torch.zeros(400, 1024), torch.zeros(400, 1024), torch.zeros(400, 784)
sums = [torch.zeros_like(layer.weight) for layer in model]
if sys.argv[1] == "made":
    make_buffer(model)
before = used()
for size in (8, 200, 250, 300, 400):
    x, h, g, back = (part[:size] for part in rows)
    for layer, inputs, out, total in ((model[0], x, g, sums[0]), (model[1], h, g[:, :512], sums[1])):
        p, d = layer.weight.shape
        out = out[:, :p].contiguous()
        torch.mm(inputs, layer.weight.detach().T, out=out)
        torch.mm(out, layer.weight.detach(), out=back if d == 784 else h)
        torch.addmm(total, out.T, inputs, beta=0, out=total)
        del out
print(used() - before)
"""


@MKL
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its own numbers")
def test_the_heap_does_not_grow_with_the_batches() -> None:
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("other processors have other blocks")

    def left(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", LEFT, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert left("made") < 64 * 1024
    assert left("not") > 3 * 2**20
