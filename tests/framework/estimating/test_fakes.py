import copy

import torch
from torch import nn

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
