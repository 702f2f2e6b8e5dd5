from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn

from helpers import tiny
from steelyard.estimating.rehearsal import rehearse
from steelyard.problem import Refused
from steelyard.selection import Selected
from steelyard.tasks import Classification
from steelyard.testing import PluginSuite, tiny_classifier
from steelyard_compute import Optimizer8bit, _optimizer_8bit
from steelyard_compute._moments import Packed, pack, unpack
from steelyard_compute._optimizer_8bit import Optimizer8bitAttachment
from steelyard_privacy import DPSGD


class TestOptimizer8bit(PluginSuite):
    plugin = Optimizer8bit(block=16, least=100)

    def task(self, data: LightningDataModule) -> LightningModule:
        model = tiny_classifier(data).model
        return Classification(model=model, optimizer=partial(torch.optim.AdamW, lr=0.01), classes=3)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shape", [(7,), (33, 40)])
def test_numbers_come_back_from_the_level_below_or_above(signed: bool, shape: tuple[int, ...]) -> None:
    values = drawn(*shape) if signed else drawn(*shape).abs()
    packed = pack(values, block=32, signed=signed, generator=torch.Generator())
    found, largest = unpack(packed, values.shape), 127 if signed else 255
    blocks = torch.cat([part.abs().max().expand(len(part)) for part in values.flatten().split(32)]).reshape(shape)
    level = (values.abs() / blocks).sqrt() * largest
    below, above = (step.clamp(max=largest).square() / largest**2 * blocks for step in (level.floor(), level.ceil()))
    assert (found.sign() * values.sign() >= 0).all()
    assert (found.abs() >= below * (1 - 1e-5)).all()
    assert (found.abs() <= above * (1 + 1e-5) + 1e-12).all()


def test_rounding_is_right_on_average_and_never_loses_a_divisor() -> None:
    values = torch.tensor([1.0, 0.5, 0.01, 1e-7])
    generator = torch.Generator().manual_seed(0)
    levels = torch.stack(
        [pack(values, block=4, signed=True, generator=generator).levels[0].float() for _ in range(4000)]
    ).mean(dim=0)
    torch.testing.assert_close(levels, values.sqrt() * 127, rtol=0, atol=0.03)
    roots = pack(values, block=4, signed=False, generator=generator)
    assert (roots.levels > 0).all()
    nothing = pack(torch.zeros(4), block=4, signed=False, generator=generator)
    assert not unpack(nothing, torch.Size([4])).any()


def test_the_size_is_a_byte_a_number_and_a_scale_a_block() -> None:
    assert pack(drawn(1000), block=256, signed=True, generator=torch.Generator()).bytes == 1024 + 4 * 4


def trained(kind: type[Any], *, eight: bool, steps: int = 300, **settings: Any) -> float:
    """The loss of a small regression; its first weight has 640 numbers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 1))
    inputs = drawn(256, 20, seed=1)
    targets = (inputs[:, :5].sum(dim=1, keepdim=True) + inputs[:, :1] * inputs[:, 1:2]) / 2
    optimizer = kind(model.parameters(), lr=1e-2, **settings)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=steps)
    if eight:
        Optimizer8bitAttachment(Optimizer8bit(block=64, least=100), seed=0).wrap(([optimizer], [schedule]))
    loss = torch.zeros(())
    for step in range(steps):
        rows = torch.arange(32) + 32 * (step % 8)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs[rows]), targets[rows])
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(nn.functional.mse_loss(model(inputs), targets).detach())


@pytest.mark.parametrize(
    ("kind", "settings"), [(torch.optim.Adam, {"weight_decay": 1e-3}), (torch.optim.AdamW, {"weight_decay": 0.1})]
)
def test_it_learns_as_well_as_torch_does_under_a_schedule(kind: type[Any], settings: dict[str, Any]) -> None:
    exact, coarse = trained(kind, eight=False, **settings), trained(kind, eight=True, **settings)
    assert exact < 0.1
    assert coarse == pytest.approx(exact, rel=0.15)


def test_the_first_step_is_torchs_own_and_small_weights_stay_its_own() -> None:
    found: list[tuple[Tensor, Tensor]] = []
    for eight in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(20, 10)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        if eight:
            Optimizer8bitAttachment(Optimizer8bit(block=64, least=100), seed=0).wrap(optimizer)
        model(drawn(5, 20)).square().sum().backward()
        gradient = model.weight.grad
        optimizer.step()
        assert model.weight.grad is gradient
        assert (model.weight in optimizer.state) != eight
        assert model.bias in optimizer.state
        found.append((model.weight.detach(), model.bias.detach()))
    (weight, bias), (again, small) = found
    torch.testing.assert_close(again, weight)
    assert small.equal(bias)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_weight_in_parts_and_in_any_order_of_memory_is_updated_as_torch_does(
    monkeypatch: pytest.MonkeyPatch, order: torch.memory_format
) -> None:
    monkeypatch.setattr(_optimizer_8bit, "SMALLEST_PART", 100)
    found = list[Tensor]()
    for eight in (False, True):
        weight = nn.Parameter(drawn(10, 5, 6, 7).contiguous(memory_format=order))
        optimizer = torch.optim.Adam([weight], lr=0.01, weight_decay=0.1)
        attachment = Optimizer8bitAttachment(Optimizer8bit(block=64, least=100), seed=0)
        if eight:
            attachment.wrap(optimizer)
        (weight * drawn(10, 5, 6, 7, seed=1)).sum().backward()
        optimizer.step()
        found.append(weight.detach())
        assert weight.is_contiguous(memory_format=order)
        if eight:
            gradient = drawn(10, 5, 6, 7, seed=1) + 0.1 * drawn(10, 5, 6, 7)
            moments = attachment.state_dict()["0"]
            means = unpack(Packed(*moments["first"]), gradient.shape)
            torch.testing.assert_close(means, 0.1 * gradient, rtol=0.1, atol=0.01)
    torch.testing.assert_close(found[1], found[0])


def test_what_a_step_takes_for_a_while_is_less_than_the_weight_itself() -> None:
    weight = nn.Parameter(torch.ones(2**22))
    weight.grad = torch.ones(2**22)
    optimizer = torch.optim.AdamW([weight])
    Optimizer8bitAttachment(Optimizer8bit(), seed=0).wrap(optimizer)
    optimizer.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step()
    changes = [event.cpu_memory_usage for event in profile.events() if event.name == "[memory]"]
    assert 0 < max(accumulate(changes)) <= 2**22 * 4


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (partial(torch.optim.SGD, lr=0.1), "trains with SGD"),
        (partial(torch.optim.AdamW, amsgrad=True), "do not go with amsgrad"),
    ],
)
def test_another_optimizer_is_refused(optimizer: Any, words: str) -> None:
    attachment = Optimizer8bitAttachment(Optimizer8bit(), seed=0)
    with pytest.raises(Refused, match=words):
        attachment.wrap({"optimizer": optimizer(nn.Linear(2, 2).parameters()), "lr_scheduler": None})


DP = Selected("privacy.dp_sgd", DPSGD(noise_multiplier=1.0, target_epsilon=None, noise_seed=0))


@pytest.mark.parametrize("private", [False, True])
def test_a_run_keeps_a_quarter_of_the_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: bool) -> None:
    chosen = [Selected("compute.optimizer_8bit", Optimizer8bit()), *([DP] if private else [])]
    card = tiny.run(monkeypatch, tmp_path, *chosen, folder_name="run")
    row = card["compute.optimizer_8bit.state_size"]
    # 64 x 128 weights are large enough; twice a byte each, and 4 bytes for each block of 256.
    assert row.value == pytest.approx(2 * (8192 + 32 * 4) / 2**20)
    assert row.count == 1
    before = tiny.weights(tiny.draft().task)
    after = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert not after["model.layers.2.weight"].equal(before["model.layers.2.weight"])


def test_a_plan_counts_the_moments_as_the_optimizer_s() -> None:
    draft = tiny.draft(model={"hidden": [256]})
    found = rehearse([Selected("compute.optimizer_8bit", Optimizer8bit(least=1024, block=256))], draft)
    # Two bytes a number and two scales a block of 64 x 256 and 256 x 10 weights; moments and a count of two biases.
    large, small = 64 * 256 + 256 * 10, 256 + 10
    whole = 2 * large + 8 * large / 256 + 8 * small + 2 * 4
    assert found.memory["optimizer"] == whole
