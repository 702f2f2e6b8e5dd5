import pytest
import torch
from sklearn.datasets import load_breast_cancer

from steelyard.data import BreastCancer
from steelyard.models import Normalise
from steelyard.runs import ordered


def test_columns_keep_their_own_units():
    data = BreastCancer()
    inputs, targets = (torch.cat(parts) for parts in zip(*ordered(data.train_dataloader()), strict=True))
    bunch = load_breast_cancer()
    chosen = data.splits.train
    assert torch.equal(inputs, torch.tensor(bunch.data[chosen], dtype=torch.float32))
    assert targets.tolist() == bunch.target[chosen].tolist()
    assert data.columns[0] == "mean radius"
    assert data.bounds is None
    assert data.modality == "table"


def test_the_sizes_standardise_the_training_split_and_ignore_the_others():
    data = BreastCancer()
    sizes = data.sizes
    normalise = Normalise(sizes["input_shape"], mean=sizes["mean"], std=sizes["std"])
    inputs = torch.cat([inputs for inputs, _ in data.train_dataloader()])
    out = normalise(inputs)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(30), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(dim=0, correction=0), torch.ones(30), atol=1e-4, rtol=0)
    data.corpus.inputs[data.splits.test] += 1000
    assert data.sizes == sizes


def test_a_constant_column_does_not_divide_by_zero():
    data = BreastCancer()
    data.corpus.inputs[:, 3] = 7
    assert data.sizes["std"][3] == 1
    assert data.sizes["mean"][3] == pytest.approx(7)
