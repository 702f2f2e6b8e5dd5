import itertools
import math

import pytest
import torch
from torch import nn

from steelyard.models import CNN, MLP, Normalise, TanhCNN
from steelyard.problem import Refused


def count(model):
    return sum(weight.numel() for weight in model.parameters())


def relus(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.ReLU)]


def test_the_mlp_of_the_source_has_101770_parameters():
    model = MLP(input_shape=(1, 28, 28), classes=10)
    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linears] == [(784, 128), (128, 10)]
    assert count(model) == 784 * 128 + 128 + 128 * 10 + 10 == 101_770


@pytest.mark.parametrize("hidden", [(), (5,), (7, 3, 4)])
def test_the_mlp_has_the_parameters_of_the_formula(hidden):
    widths = [30, *hidden, 2]
    model = MLP(input_shape=(30,), classes=2, hidden=hidden)
    assert count(model) == sum(a * b + b for a, b in itertools.pairwise(widths))
    assert len(relus(model)) == len(hidden)
    assert model(torch.zeros(4, 30)).shape == (4, 2)


def test_the_mlp_is_the_formula():
    model = MLP(input_shape=(1, 2, 2), classes=3, hidden=(5,), mean=0.5, std=2.0)
    first, second = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    inputs = torch.rand(6, 1, 2, 2)
    hidden = (((inputs.flatten(1) - 0.5) / 2) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(model(inputs), hidden @ second.weight.T + second.bias)


@pytest.mark.parametrize(("norm", "extra"), [("group", 2 * (16 + 32)), ("batch", 2 * (16 + 32)), ("none", 0)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)])
def test_the_cnn_has_the_parameters_of_the_formula(norm, extra, shape):
    model = CNN(input_shape=shape, classes=10, norm=norm)
    pixels = math.ceil(shape[1] / 2) * math.ceil(shape[2] / 2)
    convolutions = (9 * shape[0] * 16 + 16) + (9 * 16 * 32 + 32)
    assert count(model) == convolutions + extra + 32 * pixels * 10 + 10
    assert model(torch.rand(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize(("norm", "mixes"), [("group", False), ("batch", True), ("none", False)])
def test_only_batch_norm_mixes_the_examples_of_a_batch(norm, mixes):
    model = CNN(input_shape=(1, 8, 8), classes=4, norm=norm).train()
    inputs = torch.rand(5, 1, 8, 8)
    together, alone = model(inputs)[:2], model(inputs[:2])
    assert torch.allclose(together, alone, atol=1e-5) is not mixes


@pytest.mark.parametrize("model", [MLP, CNN])
def test_dropout_acts_in_training_only(model):
    made = model(input_shape=(1, 8, 8), classes=4, dropout=0.5)
    inputs = torch.rand(3, 1, 8, 8)
    assert not torch.equal(made.train()(inputs), made(inputs))
    assert torch.equal(made.eval()(inputs), made(inputs))
    assert not any(isinstance(layer, nn.Dropout) for layer in model(input_shape=(1, 8, 8), classes=4).modules())


@pytest.mark.parametrize("model", [MLP, CNN])
def test_models_build_without_memory(model):
    with torch.device("meta"):
        made = model(input_shape=(1, 8, 8), classes=4, mean=[0.5], std=[2.0])
        assert made(torch.empty(3, 1, 8, 8)).shape == (3, 4)
    assert all(weight.is_meta for weight in made.parameters())


def test_normalise_broadcasts_over_channels_and_is_no_weight():
    normalise = Normalise((3, 2, 2), mean=[1.0, 2.0, 3.0], std=[1.0, 2.0, 4.0])
    inputs = torch.rand(5, 3, 2, 2)
    torch.testing.assert_close(normalise(inputs)[:, 2], (inputs[:, 2] - 3) / 4)
    assert count(normalise) == 0
    assert set(normalise.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize(
    ("options", "words", "fix"),
    [
        ({"std": 0.0}, r"model\.std has 0", "model.std=1.0"),
        ({"std": [1.0, -1.0, 1.0]}, r"model\.std has -1", "model.std=1.0"),
        ({"mean": [1.0, 2.0]}, "has 2 numbers", "model.mean=0.0"),
        ({"norm": "layer"}, r"model\.norm is 'layer'", "model.norm=group"),
        ({"input_shape": (30,)}, "needs images", "model=mlp"),
        ({"channels": [8, 0]}, r"model\.channels", "model.channels=[16,32]"),
        ({"dropout": 1.0}, r"model\.dropout is 1", "model.dropout=0.1"),
        ({"dropout": -0.1}, r"model\.dropout", "model.dropout=0.1"),
    ],
)
def test_what_does_not_fit_is_refused(options, words, fix):
    with pytest.raises(Refused, match=words) as caught:
        CNN(**{"input_shape": (3, 8, 8), "classes": 2, **options})
    assert caught.value.problems[0].fix == fix


def test_an_mlp_without_units_is_refused():
    with pytest.raises(Refused, match=r"model\.hidden is \[16, 0\]"):
        MLP(input_shape=(4,), classes=2, hidden=[16, 0])


def test_the_network_for_private_training_fits_its_pictures():
    for shape in ((1, 28, 28), (3, 16, 20)):
        model = TanhCNN(input_shape=shape, classes=10)
        assert model(torch.rand(2, *shape)).shape == (2, 10)
    assert sum(weight.numel() for weight in TanhCNN(input_shape=(1, 28, 28), classes=10).parameters()) == 26_010


@pytest.mark.parametrize(("options", "fix"), [({"input_shape": (1, 8, 8)}, "mlp"), ({"channels": [3]}, "channels")])
def test_the_network_for_private_training_refuses_what_it_cannot_be(options, fix):
    with pytest.raises(Refused) as refused:
        TanhCNN(**{"input_shape": (1, 28, 28), "classes": 10, **options})
    assert fix in refused.value.problems[0].fix
