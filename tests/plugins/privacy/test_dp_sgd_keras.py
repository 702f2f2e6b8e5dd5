"""DP-SGD on a model from Keras, whose layers are none of PyTorch's."""

from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

if find_spec("keras") is None:
    pytest.skip("needs the extra keras", allow_module_level=True)

from private_runs import make_draft
from steelyard.models import KerasModel
from steelyard.tasks import Classification
from steelyard.testing import TinyImages
from steelyard_privacy._choice import Choice
from steelyard_privacy._sums import Layout, Sums
from steelyard_privacy.dp_sgd import DPSGD

HEAD = "import keras\nfrom keras import layers as L\ndef model(classes): return keras.Sequential([L.Input((36,)), "


def task(folder: Any, layers: str) -> Classification:
    (folder / "net.py").write_text(HEAD + layers + "L.Dense(classes, activation='softmax')])")
    torch.manual_seed(0)
    module = KerasModel(input_shape=(1, 6, 6), classes=3, build=f"{folder / 'net.py'}:model")
    return Classification(model=module, optimizer=partial(torch.optim.SGD, lr=0.1), classes=3)


def test_batch_normalisation_is_refused_before_training(tmp_path: Any) -> None:
    draft = make_draft(task(tmp_path, "L.Dense(4), L.BatchNormalization(), "), TinyImages(), max_epochs=1)
    found = [problem for problem in DPSGD().preflight(draft) if problem.level == "error"]
    assert len(found) == 1
    assert "model is KerasModel with a BatchNormalization" in found[0].message
    assert "GroupNormalization" in found[0].fix


def test_the_gradients_are_clipped_one_example_at_a_time(tmp_path: Any) -> None:
    made = task(tmp_path, "L.Dense(4, activation='relu'), ")
    batch = next(iter(TinyImages(batch_size=6).train_dataloader()))
    sums = Sums(Layout([*made.parameters()]))
    choice = Choice("auto", task=made, layout=sums.layout)

    def objective(piece: Any) -> torch.Tensor:
        return made.training_step(piece, 0)

    choice.prepare(sums, batch, count=6, trial=objective)
    found = choice.add_clipped(sums, batch, count=6, objective=objective, max_norm=0.5)
    assert choice.name == "microbatch"
    expected, norms = 0.0, []
    for row in range(6):
        loss = torch.nn.functional.cross_entropy(made(batch[0][row : row + 1]), batch[1][row : row + 1])
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, [*made.parameters()])])
        norms.append(float(gradient.norm()))
        expected = expected + gradient * min(1.0, 0.5 / norms[-1])
    assert max(norms) > 0.5
    assert torch.allclose(found, torch.tensor(norms), atol=1e-5)
    assert torch.allclose(sums.total(), expected, atol=1e-5)
