from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import tiny
from steelyard.measurement import Status
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.testing import PluginSuite
from steelyard_compute import Quantize
from steelyard_compute._rounded_layers import dynamic, packed, plain_size, swapped
from steelyard_compute._rounding import int4, int8


class TestQuantize(PluginSuite):
    plugin = Quantize(rounds=1)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 16)
        self.mix = nn.MultiheadAttention(16, 2, batch_first=True)
        self.wave = nn.Conv1d(16, 16, 3, padding=1)
        self.again = self.wave
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states = self.words(tokens)
        states = states + self.mix(states, states, states)[0]
        return self.head(self.norm(self.again(self.wave(states.mT)).mT))


def by_hand(model: nn.Module, pack: Any) -> None:
    """The same rounding, written into the weights."""
    with torch.no_grad():
        for weight in (model.words.weight, model.wave.weight, model.mix.out_proj.weight):
            weight.copy_(pack(weight).values())


@pytest.mark.parametrize("pack", [int8, partial(int4, group=8)])
@pytest.mark.parametrize("train", [False, True])
def test_rounded_layers_answer_as_rounded_weights_do(pack: Any, train: bool) -> None:
    torch.manual_seed(0)
    model, tokens = Mixed().train(train), torch.randint(11, (3, 5))
    before, layers = tiny.weights(model), dict(model.named_modules())
    swap = packed(model, pack)
    with torch.no_grad(), swapped(model, swap):
        found = model(tokens)
    assert dict(model.named_modules()) == layers
    assert all(weight.equal(before[name]) for name, weight in model.state_dict().items())
    by_hand(model, pack)
    torch.testing.assert_close(found, model(tokens))


def test_sizes_are_the_closed_form() -> None:
    model = Mixed()
    # in_proj 48 x 16 + 48, the norm 2 x 16, biases of 16: as they are.
    rest = 4 * (48 * 16 + 48 + 32 + 16 + 16)
    shapes = [(11, 16), (16, 48), (16, 16)]
    assert plain_size(model) == rest + 4 * sum(rows * columns for rows, columns in shapes)
    assert packed(model, int8).size == rest + sum(rows * columns + 4 * rows for rows, columns in shapes)
    assert packed(model, partial(int4, group=8)).size == rest + sum(r * c // 8 * (4 + 4) for r, c in shapes)
    # The head's weight is the embedding's, which stays; 16 bytes a row, as torch keeps scale and zero point.
    swap = dynamic(model)
    assert swap.size == rest + 4 * (11 * 16 + 16 * 48) + (11 * 16 + 11 * 16) + (16 * 16 + 16 * 16)
    assert [*swap.places] == ["mix.out_proj", "head"]


def test_products_in_8_bits_are_near_the_exact_ones() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(20, 64)
    exact, weight = model(inputs), model[0].weight.detach()
    with torch.no_grad(), swapped(model, dynamic(model)):
        found, rounded = model(inputs), model[0].weight
    assert not found.equal(exact)
    # A scale for each row, of at most 256 levels between the extremes of both signs.
    assert ((rounded - weight).abs() <= 1.01 * weight.abs().amax(dim=1, keepdim=True) / 127 / 2).all()
    assert (found - exact).abs().max() < 0.05 * exact.abs().max()


def test_an_exception_brings_the_layers_back() -> None:
    model = Mixed()
    layers = dict(model.named_modules())
    with pytest.raises(ZeroDivisionError), swapped(model, packed(model, int8)):
        1 / 0  # noqa: B018
    assert dict(model.named_modules()) == layers


def test_the_finished_model_is_weighed_in_every_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = tiny.run(monkeypatch, tmp_path, Selected("compute.quantize", Quantize(rounds=6)), folder_name="run")
    (section,) = (section for section in card.sections if section.key == "compute.quantize")
    rows = {(row.name.rpartition(".")[2], row.at["format"]): row for row in section.measurements}
    sizes = {name: row.value for (metric, name), row in rows.items() if metric == "size"}
    assert [*sizes] == ["as trained", "int8", "int8_dynamic", "int4"]
    assert sizes["int4"] < sizes["int8"] < sizes["as trained"]
    for name in ("int8", "int8_dynamic", "int4"):
        lost, changed = rows["marks_lost", name], rows["changed_decisions", name]
        assert (lost.count, changed.count) == (96, 96)
        assert lost.interval is not None
        assert lost.interval[0] < lost.value < lost.interval[1]
        assert abs(lost.value) <= changed.value
        assert rows["time_saved", name].timing
        assert rows["time_saved", name].interval is not None
        assert rows["seconds_per_example", name].value > 0
        assert rows["loss_gained", name].value != 0
    alone = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert alone["model.layers.2.weight"].dtype == torch.float32


def test_a_device_without_the_kernels_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from steelyard_compute import _quantize

    monkeypatch.setattr(_quantize, "find_spec", lambda _: None)
    plugin = Quantize(formats=("int8_dynamic",))
    card = tiny.run(monkeypatch, tmp_path, Selected("compute.quantize", plugin), folder_name="run")
    row = card.sections[-1].measurements[-1]
    assert (row.status, row.note) == (Status.SKIPPED, "this build of torch has no kernels for 8 bits")


def test_no_format_is_refused() -> None:
    with pytest.raises(Refused, match="no format is named"):
        preflight([Selected("compute.quantize", Quantize(formats=()))], tiny.draft())
