import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from helpers import tiny
from steelyard.measurement import Measurement, Status
from steelyard.scorecard import Scorecard
from steelyard.selection import Selected
from steelyard_compute import Cost, _energy, _telemetry
from steelyard_compute._clock import Clock
from steelyard_compute._curves import training_curves
from steelyard_compute._energy import meter_for
from steelyard_compute._telemetry import Telemetry
from steelyard_compute._throughput import matmul_peak, tokens


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_energy, "POWERCAP", tmp_path_factory.mktemp("no_meter"))
        chosen = Selected("compute.cost", Cost(core_watts=5))
        yield tiny.run(patch, tmp_path_factory.mktemp("out"), chosen, trainer={"max_epochs": 8})


def test_an_estimate_is_never_called_measured(card: Scorecard) -> None:
    row = card["compute.cost.energy"]
    assert row.status is Status.ESTIMATED
    assert "estimated, no meter" in row.note
    assert "an assumed 5 W for a busy core" in row.note
    # 5 W for at least a part of the training, and not for 64 cores.
    assert 0 < row.value < 5 * 64 * (card["compute.cost.train_seconds"].value or 0)


def test_how_busy_the_machine_was_comes_from_counted_and_timed_steps(card: Scorecard) -> None:
    busy, speed = card["compute.cost.mfu"], card["compute.cost.examples_per_second"]
    each = card["compute.cost.flops_per_example"]
    assert busy.timing
    reached = float(busy.note.split()[0]) * 1e9
    assert reached == pytest.approx(each.value * speed.value, rel=1e-3)
    assert busy.value == pytest.approx(reached / (float(busy.note.split()[2]) * 1e9), rel=1e-3)


def test_the_picture_of_a_training_that_is_long_enough(card: Scorecard) -> None:
    (section,) = (section for section in card.sections if section.key == "compute.cost")
    assert [item.title for item in section.artefacts] == ["Step time and memory over the training"]
    clock = Clock()
    for _ in range(_telemetry.DRAWN - 1):
        clock.add(0.01, examples=1)
    assert not [*Telemetry(Cost()).pictures(clock)]
    clock.add(0.01, examples=1)
    assert [*Telemetry(Cost()).pictures(clock)]
    assert not [*Telemetry(Cost(curves=False)).pictures(clock)]


@pytest.mark.parametrize("memory", [[], [(1, 100.0), (30, 120.0)]])
def test_curves_are_a_picture(memory: list[tuple[int, float]]) -> None:
    image = Image.open(io.BytesIO(training_curves([0.01] * 40, memory)))
    assert image.size[0] > 400
    assert (image.size[1] > 350) == bool(memory)


def test_tokens_are_those_that_are_no_padding() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    batch = {"input_ids": torch.zeros(2, 3), "attention_mask": mask}
    assert tokens((batch, torch.zeros(2))).item() == tokens(batch).item() == 3
    assert tokens((torch.zeros(2, 3), torch.zeros(2))) is None
    clock, telemetry = Clock(inside=0.5), Telemetry(Cost())
    for step in range(2):
        telemetry.add(batch, step=step)
    run: Any = type("Run", (), {"trained": True})
    (row,) = telemetry.tokens_per_second(run, clock)
    assert isinstance(row, Measurement)
    assert (row.value, row.count) == (12, 6)


def test_the_peak_is_more_than_a_small_product_reaches() -> None:
    peak = matmul_peak(torch.device("cpu"), torch.float32)
    assert 1e8 < peak < 1e14


def test_samples_of_the_memory_stay_few_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_telemetry, "KEPT", 8)
    monkeypatch.setattr(_telemetry, "EVERY", 0.0)
    telemetry = Telemetry(Cost())
    for step in range(100):
        telemetry.add(None, step=step)
    seen = [step for step, _ in telemetry.samples]
    assert len(seen) <= 8
    assert seen == sorted(seen)
    assert seen[0] < 20 < 80 < seen[-1]


def test_a_gpu_of_unknown_power_is_skipped_with_the_reason() -> None:
    telemetry, on_gpu = Telemetry(Cost()), SimpleNamespace(device=torch.device("cuda"))
    telemetry.start(SimpleNamespace(precision="32-true"), on_gpu)  # type: ignore[arg-type]
    row = telemetry.energy(SimpleNamespace(trained=True))  # type: ignore[arg-type]
    assert (row.status, row.value) == (Status.SKIPPED, None)
    assert "device_watts" in row.note
    assert meter_for(torch.device("cuda"), core_watts=10, device_watts=None) is None
    assert meter_for(torch.device("cuda"), core_watts=10, device_watts=300) is not None


def test_the_sums_come_back_with_a_checkpoint() -> None:
    first = Telemetry(Cost())
    first.load({"tokens": 7, "joules": 2.5, "measured": False, "how": "estimated"})
    assert first.state() == {"tokens": 7, "joules": 2.5, "measured": False, "how": "estimated"}


def test_the_folder_keeps_the_word(card: Scorecard, tmp_path: Path) -> None:
    back = Scorecard.from_json(card.to_json())
    assert back["compute.cost.energy"].status is Status.ESTIMATED
