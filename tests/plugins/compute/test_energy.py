import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from steelyard_compute import _energy, cost
from steelyard_compute._energy import BusyCores, BusyDevice, Rapl, meter_for, missing, packages


def zone(place: Path, name: str, count: int) -> Path:
    folder = place / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text("1000000")
    (folder / "energy_uj").write_text(f"{count}\n")
    return folder


def test_the_counters_add_up_over_packages_and_when_they_wrap_around(tmp_path: Path) -> None:
    one, two = zone(tmp_path, "intel-rapl:0", 900_000), zone(tmp_path, "intel-rapl:1", 0)
    meter = Rapl([one, two])
    (one / "energy_uj").write_text("990000")
    (two / "energy_uj").write_text("500000")
    assert meter.read().joules == pytest.approx(0.09 + 0.5)
    (one / "energy_uj").write_text("40000")
    found = meter.read()
    assert found.joules == pytest.approx(0.09 + 0.5 + 0.05)
    assert found.measured
    assert "2 processor packages" in found.how


def test_only_packages_that_can_be_read_are_meters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_energy, "POWERCAP", tmp_path)
    assert packages() == []
    good = zone(tmp_path, "intel-rapl:0", 5)
    zone(tmp_path, "intel-rapl:0:0", 5)  # cores, which are part of the package
    (tmp_path / "intel-rapl:1").mkdir()  # no counter
    assert packages() == [good]


def test_without_a_meter_it_is_an_estimate_that_names_its_assumption(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([10.0, 1.0, 2.0, 0.5, 12.0, 1.5, 2.0, 1.0])

    def getrusage(_: int) -> Any:
        return SimpleNamespace(ru_utime=next(spent), ru_stime=next(spent))

    fake = SimpleNamespace(getrusage=getrusage, RUSAGE_SELF=0, RUSAGE_CHILDREN=-1)
    monkeypatch.setattr(_energy, "resource", fake)
    meter = BusyCores(7.5)
    found = meter.read()
    assert found.joules == pytest.approx(7.5 * 3)
    assert not found.measured
    assert found.how.startswith("estimated, no meter: 3 s of CPU time at an assumed 7.5 W")


def test_a_device_without_a_meter_takes_its_full_power_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 104.0])
    monkeypatch.setattr(_energy, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    found = BusyDevice(300, "cuda").read()
    assert (found.joules, found.measured) == (1200, False)


class Tracker:
    """Stands in for codecarbon's: 0.001 kWh a task, of which a tenth is memory."""

    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        self.made.append(options)
        self.open: str | None = None

    def start_task(self, name: str) -> None:
        assert self.open is None
        self.open = name

    def stop_task(self, name: str) -> Any:
        assert self.open == name
        self.open = None
        return SimpleNamespace(
            energy_consumed=0.001,
            ram_energy=0.0001,
            cpu_power=12.0,
            ram_power=10.0,
            cpu_model="Abacus",
            tracking_mode="process",
            codecarbon_version="3.3.2",
        )


def test_codecarbon_adds_up_and_is_an_estimate_with_its_assumptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", SimpleNamespace(OfflineEmissionsTracker=Tracker))
    from steelyard_compute._codecarbon import CodeCarbon

    meter = CodeCarbon()
    assert meter.read().joules == pytest.approx(3600)
    assert meter.read().joules == pytest.approx(7200)
    found = meter.end()
    assert found.joules == pytest.approx(10800)
    assert not found.measured
    assert "Abacus, lately at 12 W for this process; 1.08e+03 J of it are memory, at an assumed 10 W" in found.how
    assert Tracker.made[0]["save_to_file"] is False
    assert meter._tracker.open is None


def test_codecarbon_that_is_missing_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_energy, "find_spec", lambda _: None)
    (problem,) = cost.Cost(meter="codecarbon").preflight(SimpleNamespace(forecast=None))
    assert "pip install 'steelyard[energy]'" in problem.message
    assert problem.fix == "compute.cost.meter=own"


class Library:
    """What NVML's bindings offer, with a counter of our own."""

    def __init__(self, **counts: list[int]) -> None:
        self._counts = {f"GPU-{uuid}": iter(list) for uuid, list in counts.items()}

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        return self._counts[uuid]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:
        return next(handle)


def test_a_gpu_with_a_counter_is_measured_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA H200", uuid="one")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setitem(sys.modules, "pynvml", Library(other=[0], one=[5_000, 7_500, 9_000]))
    meter = meter_for(torch.device("cuda", 1), core_watts=10, device_watts=700)
    assert meter is not None
    found = meter.read()
    assert (found.joules, found.measured) == (2.5, True)
    assert "NVIDIA H200 (NVML)" in found.how
    assert meter.end().joules == 4.0


def test_a_gpu_without_a_counter_takes_the_power_that_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="old", uuid="two"))
    monkeypatch.setitem(sys.modules, "pynvml", Library(one=[0]))
    assert isinstance(meter_for(torch.device("cuda"), core_watts=10, device_watts=300), BusyDevice)
    assert meter_for(torch.device("cuda"), core_watts=10, device_watts=None) is None


def test_what_gives_a_meter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_energy, "find_spec", lambda _: None)
    said = missing(torch.device("cuda"), "compute.cost.device_watts")
    assert "pip install nvidia-ml-py" in said
    assert "compute.cost.device_watts" in said
    assert "pip" not in missing(torch.device("mps"), "compute.cost.device_watts")
