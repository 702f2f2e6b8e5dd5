import gzip
import struct
from pathlib import Path

import pytest
import torch

from steelyard.data import Idx
from steelyard.data.idx_file import read_idx, write_idx
from steelyard.problem import Refused

FASHION = Path("/usr/share/datasets/fashion-mnist")
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def values():
    generator = torch.Generator().manual_seed(0)
    return {
        NAMES[0]: torch.randint(256, (30, 5, 4), dtype=torch.uint8, generator=generator),
        NAMES[1]: torch.arange(30).remainder(3).to(torch.uint8),
        NAMES[2]: torch.randint(256, (6, 5, 4), dtype=torch.uint8, generator=generator),
        NAMES[3]: torch.arange(6).remainder(3).to(torch.uint8),
    }


@pytest.fixture
def folder(tmp_path, values):
    for name, value in values.items():
        write_idx(tmp_path / name, value)
    return tmp_path


def refusal(folder, **others):
    with pytest.raises(Refused) as caught:
        assert Idx(root=folder, **others).splits
    assert caught.value.problems[0].fix == "data.root=FOLDER"
    return str(caught.value)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_comes_back_as_it_was_written(tmp_path, values, ending):
    for name, value in values.items():
        path = tmp_path / (name + ending)
        write_idx(path, value)
        assert torch.equal(read_idx(path, dimensions=value.dim()), value)


def test_the_format_is_that_of_the_specification(tmp_path):
    # From the description of the format by LeCun, Cortes and Burges: magic 0x00000803, big-endian sizes, bytes.
    path = tmp_path / "images"
    path.write_bytes(bytes.fromhex("00000803 00000002 00000001 00000003") + bytes([1, 2, 3, 4, 5, 255]))
    assert read_idx(path, dimensions=3).tolist() == [[[1, 2, 3]], [[4, 5, 255]]]


def test_the_files_own_test_set_stays_the_test_set(folder, values):
    data = Idx(root=folder, val_fraction=0.2)
    inputs, targets = next(iter(data.test_dataloader()))
    assert torch.equal(inputs[:, 0], values[NAMES[2]] / 255)
    assert targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert (len(data.splits.train), len(data.splits.val)) == (24, 6)
    assert data.sizes == {"input_shape": (1, 5, 4), "classes": 3, "mean": 0.0, "std": 1.0}
    assert set(data.splits.train.tolist()) | set(data.splits.val.tolist()) == set(range(30))


def test_plain_compressed_and_dotted_files_have_one_fingerprint(folder, tmp_path_factory, values):
    other = tmp_path_factory.mktemp("other")
    for name, value in values.items():
        write_idx(other / (name.replace("-idx", ".idx") + ".gz"), value)
    assert Idx(root=folder).fingerprint() == Idx(root=other, split_seed=4).fingerprint()
    values[NAMES[3]][0] = 1
    write_idx(folder / NAMES[3], values[NAMES[3]])
    assert Idx(root=folder).fingerprint() != Idx(root=other).fingerprint()


def test_no_folder_is_refused_with_the_package_that_has_one(tmp_path):
    said = refusal(tmp_path / "nowhere")
    assert f"data.root={tmp_path / 'nowhere'}" in said
    assert "dataset-fashion-mnist" in said
    with pytest.raises(Refused, match=r"data\.root is not set"):
        Idx()


def test_every_missing_file_is_named(folder):
    (folder / NAMES[1]).unlink()
    (folder / NAMES[2]).unlink()
    said = refusal(folder)
    assert NAMES[1] in said
    assert NAMES[2] in said
    assert NAMES[0] not in said


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "promises 600 values and has 599: it was cut off"),
        (lambda content: content + b"x", "has 601: something follows"),
        (lambda content: content[:9], "too few for an IDX header"),
        (lambda content: b"", "has 0 bytes"),
        (lambda content: b"<htm" + content[4:], "is no IDX file: it begins with 3c 68 74 6d"),
        (lambda content: b"\0\0\x0d\x03" + content[4:], "IDX type 0x0d"),
        (lambda content: b"\0\0\x08\x01" + content[4:], "has 1 dimensions, expected 3"),
        (lambda content: struct.pack(">HBB3I", 0, 8, 3, 0, 5, 4), "is empty"),
        (lambda content: gzip.compress(content)[:-20], "cannot be read"),
        (lambda content: b"\x1f\x8b" + content, "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_by_name(folder, damage, words):
    path = folder / NAMES[0]
    path.write_bytes(damage(path.read_bytes()))
    said = refusal(folder)
    assert words in said
    assert str(path) in said


def test_images_and_labels_must_pair(folder, values):
    write_idx(folder / NAMES[1], values[NAMES[1]][:-1])
    assert "30 train images and 29 train labels" in refusal(folder)


def test_training_and_test_images_must_be_of_one_size(folder, values):
    write_idx(folder / NAMES[2], values[NAMES[2]][:, :4])
    assert "(5, 4) and (4, 4)" in refusal(folder)


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist():
    data = Idx(root=FASHION)
    assert data.sizes["input_shape"] == (1, 28, 28)
    assert data.sizes["classes"] == 10
    assert torch.bincount(data.corpus.targets).tolist() == [7000] * 10
    assert {split: len(getattr(data.splits, split)) for split in ("train", "val", "test")} == {
        "train": 54000,
        "val": 6000,
        "test": 10000,
    }


def test_classes_may_have_names(folder):
    data = Idx(root=folder, names=["ant", "bee", "cat", "dog"])
    assert data.sizes["classes"] == 4
    assert data.names == ("ant", "bee", "cat", "dog")
    with pytest.raises(Refused, match=r"label 2 of .*labels.* is 2, and data\.names has 2 names") as caught:
        Idx(root=folder, names=["ant", "bee"]).setup("fit")
    assert caught.value.problems[0].fix == "data.names=[]"
