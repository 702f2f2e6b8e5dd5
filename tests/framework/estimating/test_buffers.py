"""The buffers into which MKL packs the factors of a product: for which, how large, and when there is a new one."""

import platform
import subprocess
import sys

import pytest
import torch

from helpers.glibc import GLIBC
from steelyard.estimating._buffers import Buffers, buffer, products
from steelyard.estimating._onednn import Written

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("sizes", "request_", "kib"),
    [
        ((64, 64, 64), 115_360, 32),
        ((512, 64, 64), 443_040, 112),
        ((512, 64, 2048), 1_458_848, 608),
        ((128, 4096, 128), 311_968, 192),
        ((512, 2048, 2048), 2_179_744, 1824),
        ((8192, 8192, 8192), 5_522_080, 5088),
        ((512, 150, 512), 785_056, 525),
        ((512, 255, 512), 667_296, 444.5),
        ((512, 512, 17), 631_456, 312),
    ],
)
def test_a_buffer_is_as_large_as_mkl_asked_for(sizes: tuple[int, int, int], request_: int, kib: float) -> None:
    """As they were logged; what is written to is rounded up to pages there, with some pages beside it."""
    assert buffer(*sizes) == Written(request_, int(1024 * kib))


def test_small_products_go_without() -> None:
    assert buffer(2, 512, 512) is buffer(512, 512, 11) is None
    assert None not in (buffer(4, 512, 512), buffer(512, 512, 12))


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
def test_only_products_in_float32_are_packed() -> None:
    single, half = torch.zeros(2, 32, 48), torch.zeros(32, 32).bfloat16()
    (one,) = products(aten.bmm.default, (single, single.transpose(1, 2)))
    assert one.numbers == (32, 48, 32)
    (other,) = products(aten.addmm.default, (single[0, 0], single[0], torch.zeros(48, 20)))
    assert other.numbers == (32, 48, 20)
    assert products(aten.mm.default, (half, half)) == products(aten.mul.Tensor, (single, single)) == ()
    assert products(aten.mm.default, (torch.zeros(0, 32), torch.zeros(32, 32))) == ()


def test_a_product_takes_a_buffer_that_is_large_enough() -> None:
    buffers = Buffers()
    first, larger, smaller = (("product", sizes) for sizes in ((64, 64, 64), (512, 512, 512), (100, 300, 64)))
    found = buffers.new([first, larger, smaller])
    assert found == {first: buffer(64, 64, 64), larger: buffer(512, 512, 512)}
    assert buffers.new([first, larger, ("product", (4, "who knows", 12))]) == {}


# Bytes of the heap by which each product comes to more.
LEFT = f"""
{GLIBC}
import sys, torch
torch.set_num_threads(1)
for rows, deep, columns in eval(sys.argv[1]):
    left, right, out = torch.ones(rows, deep), torch.ones(deep, columns), torch.zeros(rows, columns)
    before = used()
    torch.mm(left, right, out=out)
    print(used() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its own numbers")
def test_the_heap_grows_by_the_buffers_that_are_new() -> None:
    if not torch.backends.mkl.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("other processors have other blocks")
    sizes = [(16, 16, 16), (64, 64, 64), (512, 64, 64), (512, 64, 2048), (512, 512, 512), (300, 2048, 2048)]
    # A sixth takes the place of the first, and a seventh that of the sixth.
    sizes += [(4096, 4096, 4096), (8192, 4096, 8192)]
    buffers = Buffers()
    expected = [sum(new.of for new in buffers.new([("product", one)]).values()) for one in sizes]
    done = subprocess.run([sys.executable, "-c", LEFT, repr(sizes)], capture_output=True, text=True, check=True)
    assert expected[4] == 0 < min(expected[:4] + expected[5:])
    for told, wanted in zip(map(int, done.stdout.split()), expected, strict=True):
        # Beside it there may be small objects, and the rest of a page.
        assert wanted <= told + 64 <= wanted + 16 * 1024
