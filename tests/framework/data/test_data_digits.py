import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from steelyard.data import Digits
from steelyard.problem import Refused
from steelyard.runs import ordered


def everything(data):
    batches = [ordered(loader()) for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader)]
    inputs, targets = zip(*(batch for loader in batches for batch in loader), strict=True)
    return torch.cat(inputs), torch.cat(targets)


def test_the_splits_hold_every_scanned_digit_once():
    images, labels = load_digits(return_X_y=True)
    inputs, targets = everything(Digits())
    assert inputs.shape == (1797, 1, 8, 8)
    assert inputs.dtype == torch.float32
    assert inputs.min() == 0
    assert inputs.max() == 1
    rows = np.column_stack([inputs.reshape(-1, 64).numpy() * 16, targets.numpy()])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, np.column_stack([images, labels])))


def test_what_the_data_knows_of_itself():
    data = Digits()
    assert data.sizes == {"input_shape": (1, 8, 8), "classes": 10, "mean": 0.0, "std": 1.0}
    assert data.modality == "image"
    assert data.bounds == (0.0, 1.0)


def test_the_fingerprint_is_that_of_the_content():
    data = Digits(split_seed=5, batch_size=7)
    images, labels = load_digits(return_X_y=True)
    digest = hashlib.sha256()
    digest.update(b"torch.uint8 (1797, 1, 8, 8) 0\n" + images.astype(np.uint8).tobytes())
    digest.update(b"torch.int64 (1797,) 0\n" + labels.astype(np.int64).tobytes())
    assert data.fingerprint() == digest.hexdigest() == Digits().fingerprint()
    data.corpus.inputs[0, 0, 3, 3] += 1
    assert data.fingerprint() != Digits().fingerprint()


def test_the_order_of_training_follows_the_seed_and_the_test_split_does_not():
    def order(seed, loader):
        torch.manual_seed(seed)
        return torch.cat([inputs for inputs, _ in loader()])

    data = Digits()
    assert torch.equal(order(1, data.train_dataloader), order(1, data.train_dataloader))
    assert not torch.equal(order(1, data.train_dataloader), order(2, data.train_dataloader))
    assert torch.equal(order(1, data.test_dataloader), order(2, data.test_dataloader))
    assert not torch.equal(order(1, data.test_dataloader), order(1, Digits(split_seed=1).test_dataloader))


def test_limit_takes_the_first_of_each_split():
    whole, few = Digits(), Digits(limit=20)
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(few.splits, split), getattr(whole.splits, split)[:20])


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"limit": 0}])
def test_numbers_below_one_are_refused(wrong):
    with pytest.raises(Refused, match=rf"data\.{next(iter(wrong))} is 0"):
        Digits(**wrong)


def test_worker_processes_load_the_same_batches():
    one, other = Digits(batch_size=200, limit=400), Digits(batch_size=200, limit=400, num_workers=1)
    for (inputs, targets), (again, same) in zip(one.val_dataloader(), other.val_dataloader(), strict=True):
        assert torch.equal(inputs, again)
        assert torch.equal(targets, same)
