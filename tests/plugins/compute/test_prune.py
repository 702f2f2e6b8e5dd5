from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import tiny
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.testing import PluginSuite
from steelyard_compute import Prune
from steelyard_compute._prune import Sparse, threshold


class TestPrune(PluginSuite):
    plugin = Prune(fractions=(0.5,))


def test_the_smallest_of_all_layers_together_go() -> None:
    weights = [torch.tensor([[0.1, -5.0], [3.0, 0.2]]), torch.tensor([[-0.05, 0.3]])]
    cut = threshold(weights, 0.5)
    assert [float(weight) for part in weights for weight in part[part.abs() > cut]] == pytest.approx([-5, 3, 0.3])


def test_the_size_is_a_mask_and_what_is_left() -> None:
    assert Sparse(torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])).bytes == 2 + 3 * 4


def test_the_finished_model_is_weighed_without_its_small_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = Selected("compute.prune", Prune(fractions=(0.5, 0.99)))
    card = tiny.run(monkeypatch, tmp_path, chosen, folder_name="run", trainer={"max_epochs": 6})
    (section,) = (section for section in card.sections if section.key == "compute.prune")
    rows = {(row.name.rpartition(".")[2], row.at["fraction"]): row for row in section.measurements}
    # 64 x 128 + 128 x 10 weights; 138 biases stay, and so do the two numbers that normalise the pixels.
    whole = 64 * 128 + 128 * 10
    for fraction in (0.5, 0.99):
        left = whole - round(fraction * whole)
        assert rows["size", fraction].value * 2**20 == pytest.approx(whole / 8 + 4 * (left + 138), abs=16)
    # By hand, on the weights of the checkpoint.
    model = tiny.draft().task
    model.load_state_dict(torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"])
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    cut = threshold([layer.weight.detach() for layer in layers], 0.99)
    data = tiny.draft().data
    inputs, targets = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    model.eval()
    with torch.no_grad():
        before = model(inputs).argmax(dim=1) == targets
        for layer in layers:
            layer.weight[layer.weight.abs() <= cut] = 0
        after = model(inputs).argmax(dim=1) == targets
    lost = rows["marks_lost", 0.99]
    assert lost.value == pytest.approx(float(before.double().mean() - after.double().mean()))
    assert lost.value > 0
    assert rows["changed_decisions", 0.5].value <= rows["changed_decisions", 0.99].value


@pytest.mark.parametrize("fractions", [(), (0.5, 1.0), (0.0,)])
def test_what_is_no_fraction_is_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(Refused, match="between 0 and 1"):
        preflight([Selected("compute.prune", Prune(fractions=fractions))], tiny.draft())
