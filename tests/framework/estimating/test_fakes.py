import copy
import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import _CacheKeyState

from steelyard.estimating._fake import Fakes


def test_a_copy_of_a_fake_stays_in_its_world() -> None:
    # A copy of the mode copies torch's weak references to storages, each of which is then given back twice.
    module = nn.Linear(3, 2)
    fakes = Fakes()
    fake = fakes.copied(module)

    with fakes.copied_well():
        twin = copy.deepcopy(fake)

    assert twin.weight.fake_mode is fake.weight.fake_mode
    assert twin.weight is not fake.weight
    assert isinstance(twin.weight, nn.Parameter)
    assert twin.weight.requires_grad


def test_a_fake_that_remembers_its_number_is_copied_too() -> None:
    # The running means of torchmetrics start as such numbers, and are deep copied.
    fakes = Fakes()
    with fakes.entered():
        number = torch.tensor(0.0)
        memo: dict[int, object] = {}
        copies = [copy.deepcopy(number, memo), copy.deepcopy(number, memo)]

    assert copies[0] is copies[1]
    assert copies[0] is not number
    assert copies[0].shape == number.shape
    assert copies[0].fake_mode is number.fake_mode


def test_a_tensor_on_the_meta_device_does_not_stop_a_rehearsal() -> None:
    hidden = torch.arange(4.0, device="meta")
    fakes = Fakes()
    with fakes.entered():
        total = torch.ones(4) + hidden
    assert total.shape == (4,)
    assert total.device.type == "cpu"


def test_torchs_weak_references_still_break_when_they_are_copied() -> None:
    # Seen on torch 2.13.0: should this class learn to be copied, `_World.__deepcopy__` can go.
    from torch.multiprocessing.reductions import StorageWeakRef

    assert "__del__" in vars(StorageWeakRef)
    assert "__deepcopy__" not in vars(StorageWeakRef)


def test_the_short_key_of_an_operation_tells_apart_what_the_result_hangs_on() -> None:
    # Seen on torch 2.13.0: `FakeTensorMode._cache_key`, and `_DispatchCacheKey` that its cache is looked up by.
    fakes = Fakes()
    add = torch.ops.aten.add.Tensor
    with fakes.entered():
        whole = torch.ones(6, 4)
        alike = [
            whole.clone(),
            whole.t().clone(memory_format=torch.preserve_format),
            whole.double(),
            torch.ones(6, 8)[:, ::2],
            torch.ones(7, 4)[1:],
            torch.ones(6, 4, requires_grad=True),
            torch.ones(4, 6),
        ]
    state = _CacheKeyState(None)
    key = functools.partial(fakes._mode._cache_key, state, add)
    assert key((whole, whole), {}) == key((alike[0], alike[0]), {})
    made = [key((whole, one), {}) for one in alike]
    made += [key((whole, one), {}) for one in (1, 1.0, True)] + [key((whole, 1), {"alpha": 2}), key((1, whole), {})]
    assert len(set(made)) == len(made)


def test_operations_that_are_looked_up_come_out_as_worked_out() -> None:
    def results(fakes: Fakes) -> list[object]:
        with fakes.entered():
            module, inputs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(2)), torch.ones(2, 3, 8, 8)
            found = [module(inputs), module(inputs), module(inputs.to(memory_format=torch.channels_last))]
            found[1].transpose(1, 2).mul(2).add_(1).sum().backward()
            found += [weight.grad for weight in module.parameters()]
            found += [*found[0].split(3, dim=2), found[0].topk(2)[1], found[0] + 1j]
        return [(one.shape, one.stride(), one.dtype, one.device.type, one.requires_grad) for one in found]

    plain = Fakes()
    plain._mode.cache_enabled = False
    assert results(Fakes()) == results(plain)


def test_an_operation_that_fails_is_told_by_its_error_alone(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(caplog.handler)  # those of torch do not pass it on
    try:
        with Fakes().entered(), pytest.raises(RuntimeError, match="same reduction dim"):
            torch.mm(torch.zeros(2, 3), torch.zeros(4, 5))
        assert not caplog.records
        assert not logger.disabled
    finally:
        logger.removeHandler(caplog.handler)


@functools.lru_cache
def places(count: int) -> torch.Tensor:
    return torch.arange(count)


class Mute:
    """Like a library's stand-in for what is not there yet."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


MUTE = Mute()


def hiding(function: Callable[[int], torch.Tensor]) -> Callable[[int], torch.Tensor]:
    cached = functools.lru_cache(function)
    return lambda count: cached(count)


class Placed(nn.Module):
    @staticmethod
    @hiding
    def grid(count: int) -> torch.Tensor:
        return torch.linspace(0, 1, count)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs + self.grid(3) + places(3)


def test_what_a_model_keeps_of_its_constants_is_real_afterwards() -> None:
    fakes = Fakes()
    fake = fakes.copied(nn.Sequential(Placed()))
    with fakes.entered():
        fake(torch.zeros(2, 3))
    assert Placed()(torch.zeros(3)).tolist() == [0, 1.5, 3]
    kept = places.cache_info().misses
    with fakes.entered():
        fake(torch.zeros(2, 3))
    assert places(3).tolist() == [0, 1, 2]
    assert places.cache_info().misses == kept, "what was kept before, and not made anew, stays"


def test_in_mixed_precision_a_normalisation_by_groups_gives_its_gradient_in_16_bits() -> None:
    found: list[Any] = []

    def see(func: Any, args: Any, kwargs: Any, out: Any) -> None:
        if func is torch.ops.aten.native_group_norm_backward.default:
            found.append([tensor.dtype for tensor in out])

    fakes = Fakes()
    layer = fakes.copied(nn.GroupNorm(2, 8))
    inputs = fakes.like(torch.zeros(2, 8, 4, 4, dtype=torch.bfloat16)).requires_grad_()
    with fakes.entered(see), torch.autocast("cpu", torch.bfloat16):
        layer(inputs).sum().backward()
    assert found == [[torch.bfloat16, torch.float32, torch.float32]]
