"""A label that is no class is refused with its row."""

import pytest
import torch

from steelyard.data import Corpus, Idx, InMemory
from steelyard.data.idx_file import write_idx
from steelyard.problem import Refused


class Own(InMemory):
    modality = "table"
    bounds = None

    def __init__(self, targets):
        super().__init__()
        self.targets = targets

    def read(self):
        return Corpus(inputs=torch.zeros(len(self.targets), 3), targets=torch.tensor(self.targets), classes=3)

    def moments(self):
        return {"mean": 0.0, "std": 1.0}


@pytest.mark.parametrize("wrong", [3, -1, 255])
def test_the_row_and_the_label_are_named(wrong):
    with pytest.raises(Refused, match=rf"example 11 has the label {wrong}, and 3 classes go from 0 to 2 \(2 such"):
        Own([0, 1, 2] * 3 + [0, 1, wrong, wrong]).setup("fit")


def test_labels_in_range_are_taken():
    Own([0, 1, 2] * 4).setup("fit")


def test_a_file_of_labels_is_named_with_the_place_in_it(tmp_path):
    for part, labels in (("train", [0, 1] * 10), ("t10k", [0, 1, 0, 7])):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", torch.zeros(len(labels), 4, 4, dtype=torch.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", torch.tensor(labels, dtype=torch.uint8))
    with pytest.raises(Refused, match=r"label 3 of .*t10k-labels-idx1-ubyte is 7, and data.names has 2 names"):
        Idx(root=tmp_path, names=("one", "other")).setup("fit")
