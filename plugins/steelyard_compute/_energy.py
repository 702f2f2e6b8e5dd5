# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Energy: from a meter where there is one, else estimated, with the assumption named."""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch

from steelyard.problem import Problem

JOULES_PER_WATT_HOUR = 3600.0
POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What was used.

    Attributes:
        joules: How much.
        measured: False where it is an estimate.
        how: The meter, or the assumption.
    """

    joules: float
    measured: bool
    how: str


class Meter(Protocol):
    """Adds up from when it was made."""

    def read(self) -> Energy:
        """So far."""
        ...

    def end(self) -> Energy:
        """All of it; not to be read again."""
        ...


class Seldom:
    """A meter that takes long to read: it is read once in a while, and between two readings the last one stands.

    Args:
        meter: Which.
        every: Seconds between two readings, at least.
    """

    def __init__(self, meter: Meter, *, every: float) -> None:
        self._meter, self._every = meter, every
        self._next = time.monotonic() + every
        self._last = Energy(joules=0.0, measured=True, how="")

    def read(self) -> Energy:
        """As of the last reading."""
        now = time.monotonic()
        if now >= self._next or not self._last.how:
            self._last = self._meter.read()
            self._next = now + self._every
        return self._last

    def end(self) -> Energy:
        """All of it."""
        return self._meter.end()


class Rapl:
    """The energy counters of the processor packages (Intel and AMD, by Linux powercap), which count in microjoules.

    Args:
        zones: Folder of each package.
    """

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._last = self._counters()
        self._joules = 0.0

    def read(self) -> Energy:
        """So far; to be asked at least once a minute or so, since the counters wrap around."""
        now = self._counters()
        for zone, count in now.items():
            wrapped = count < self._last[zone]
            range_ = int((zone / "max_energy_range_uj").read_text()) if wrapped else 0
            self._joules += (count - self._last[zone] + range_) / 1e6
        self._last = now
        packages = f"{len(self._zones)} processor package{'s' * (len(self._zones) > 1)}"
        return Energy(
            joules=self._joules,
            measured=True,
            how=f"the counters of {packages} (RAPL): whatever else ran on them is in it, memory and the rest are not",
        )

    def end(self) -> Energy:
        """All of it."""
        return self.read()

    def _counters(self) -> Mapping[Path, int]:
        return {zone: int((zone / "energy_uj").read_text()) for zone in self._zones}


class Nvml:
    """The energy counter of an NVIDIA GPU, which its management library (NVML) reads in millijoules.

    Args:
        device: A CUDA device.

    Raises:
        Exception: Where nvidia-ml-py is not installed, or the GPU (before Volta, or a part of one) has no counter.
    """

    def __init__(self, device: torch.device) -> None:
        self._nvml: Any = import_module("pynvml")
        properties: Any = torch.cuda.get_device_properties(device)
        self._name = str(properties.name)
        self._nvml.nvmlInit()
        # The order of the library is not that of CUDA, and CUDA may have been told to leave some out.
        self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        self._start = self._count()

    def read(self) -> Energy:
        """So far."""
        return Energy(
            joules=(self._count() - self._start) / 1000,
            measured=True,
            how=f"the counter of {self._name} (NVML): whatever else ran on it is in it; the processor and the rest of "
            "the machine are not",
        )

    def end(self) -> Energy:
        """All of it."""
        return self.read()

    def _count(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))


class BusyCores:
    """CPU time of this process and of the processes that it has waited for, times the power of a busy core.

    Args:
        watts: Of one core at full load.
    """

    def __init__(self, watts: float) -> None:
        self._watts = watts
        self._start = _cpu_seconds()

    def read(self) -> Energy:
        """So far."""
        seconds = _cpu_seconds() - self._start
        return Energy(
            joules=seconds * self._watts,
            measured=False,
            how=f"estimated, no meter: {seconds:.4g} s of CPU time at an assumed {self._watts:g} W for a busy core; "
            "idle power, cooling and the rest of the machine are not in it",
        )

    def end(self) -> Energy:
        """All of it."""
        return self.read()


class BusyDevice:
    """Wall time times the power of a device at full load: more than it really takes, if anything.

    Args:
        watts: Of the device at full load.
        name: Of the device.
    """

    def __init__(self, watts: float, name: str) -> None:
        self._watts, self._name = watts, name
        self._start = time.monotonic()

    def read(self) -> Energy:
        """So far."""
        seconds = time.monotonic() - self._start
        return Energy(
            joules=seconds * self._watts,
            measured=False,
            how=f"estimated, no meter: {seconds:.4g} s at the {self._watts:g} W that {self._name} is given for full "
            "load; the processor and the rest of the machine are not in it",
        )

    def end(self) -> Energy:
        """All of it."""
        return self.read()


def meter_for(device: torch.device, *, core_watts: float, device_watts: float | None) -> Meter | None:
    """The best there is, started; None for a device without one of which nobody told the power."""
    if device.type == "cpu":
        zones = packages()
        return Rapl(zones) if zones else BusyCores(core_watts)
    if device.type == "cuda":
        # Whatever the driver, its library or the card lacks, they are without a meter.
        with suppress(Exception):
            return Nvml(device)
    return None if device_watts is None else BusyDevice(device_watts, device.type)


def missing(device: torch.device, setting: str) -> str:
    """Why there is no meter, and what gives one."""
    install = ", pip install nvidia-ml-py gives one," if device.type == "cuda" and find_spec("pynvml") is None else ""
    return f"no meter for {device.type}{install} and {setting} does not say its power"


def meter_of(kind: str, device: torch.device, *, core_watts: float, device_watts: float | None) -> Meter | None:
    """The meter of that kind ("own" or "codecarbon"), started; None as above."""
    if kind == "codecarbon":
        from steelyard_compute._codecarbon import CodeCarbon

        return CodeCarbon()
    return meter_for(device, core_watts=core_watts, device_watts=device_watts)


def problems(kind: str, *, fix: str) -> Iterator[Problem]:
    """A meter that is not there."""
    if kind == "codecarbon" and find_spec("codecarbon") is None:
        yield Problem("codecarbon is not installed: pip install 'steelyard[energy]'", fix=fix)


def packages() -> list[Path]:
    """The processor packages whose counters this process may read."""
    return [zone for zone in sorted(POWERCAP.glob("*-rapl:[0-9]")) if _readable(zone / "energy_uj")]


def _readable(path: Path) -> bool:
    try:
        return int(path.read_text()) >= 0
    except (OSError, ValueError):
        return False


def _cpu_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)
