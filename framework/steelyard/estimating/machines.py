"""Machines: what a device holds and how fast it is, by the makers' data sheets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steelyard.problem import refuse

GIB = 1024**3
CONTEXT = 0.6
"""GiB of a GPU that the driver's context and the libraries' workspaces take before the first tensor, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One device.

    Attributes:
        title: Its full name.
        gib: Memory.
        bandwidth: Of the memory, bytes per second.
        flops: Dense peak by number format, per second; no sparsity.
        source: Where the figures stand.
        major: Of CUDA's compute capability, from Hopper on; 0 before and for other makers.
    """

    title: str
    gib: float
    bandwidth: float
    flops: Mapping[str, float]
    source: str
    major: int = 0

    def peak(self, precision: str) -> float:
        """Dense peak for a precision as the Trainer calls it; a format that it lacks runs as float32."""
        wanted = "bf16" if "16" in precision else "fp32"
        return self.flops.get(wanted, self.flops["fp32"])


def _machine(
    title: str, gib: float, terabytes: float, fp32: float, half: float | None, source: str, *, major: int = 0
) -> Machine:
    flops = {"fp32": fp32 * 1e12} | ({} if half is None else {"bf16": half * 1e12})
    return Machine(title=title, gib=gib, bandwidth=terabytes * 1e12, flops=flops, source=source, major=major)


MACHINES: Mapping[str, Machine] = {
    "b200": _machine(
        "NVIDIA B200 (HGX)", 180, 8.0, 75, 2250, "NVIDIA HGX B200 data sheet; dense is half of sparse", major=10
    ),
    "h200": _machine("NVIDIA H200 SXM", 141, 4.8, 67, 989, "NVIDIA H200 data sheet; dense is half of sparse", major=9),
    "h100": _machine("NVIDIA H100 SXM5", 80, 3.35, 67, 989, "NVIDIA H100 data sheet; dense is half of sparse", major=9),
    "a100": _machine("NVIDIA A100 SXM4 80 GB", 80, 2.039, 19.5, 312, "NVIDIA A100 data sheet"),
    "a100_40": _machine("NVIDIA A100 SXM4 40 GB", 40, 1.555, 19.5, 312, "NVIDIA A100 data sheet"),
    "l40s": _machine("NVIDIA L40S", 48, 0.864, 91.6, 362, "NVIDIA L40S data sheet; dense is half of sparse"),
    "l4": _machine("NVIDIA L4", 24, 0.300, 30.3, 121, "NVIDIA L4 data sheet; dense is half of sparse"),
    "a10": _machine("NVIDIA A10", 24, 0.600, 31.2, 125, "NVIDIA A10 data sheet"),
    # Volta and Turing have no bfloat16 units.
    "v100": _machine("NVIDIA V100 SXM2 32 GB", 32, 0.900, 15.7, None, "NVIDIA V100 data sheet"),
    "t4": _machine("NVIDIA T4", 16, 0.320, 8.1, None, "NVIDIA T4 data sheet"),
    "rtx4090": _machine("NVIDIA GeForce RTX 4090", 24, 1.008, 82.6, 165.2, "NVIDIA Ada GPU architecture paper"),
    "rtx3090": _machine("NVIDIA GeForce RTX 3090", 24, 0.936, 35.6, 71, "NVIDIA Ampere GA102 architecture paper"),
    "mi300x": _machine("AMD Instinct MI300X", 192, 5.3, 163.4, 1307.4, "AMD Instinct MI300X data sheet"),
}
"""bf16 is that of the matrix units with float32 sums; fp32 is that of the ordinary units, without TF32."""


def machine(name: str) -> Machine:
    """The machine of that name.

    Raises:
        Refused: Naming those that are known.
    """
    if name not in MACHINES:
        raise refuse(f"no machine is called {name!r}: {', '.join(MACHINES)}", fix="plan.machine=h100")
    return MACHINES[name]


def free_bytes() -> int | None:
    """Main memory that a new process could get, within the limits of its control group; None where unknown."""
    limits = [_meminfo(), _group()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def own_bytes() -> int:
    """Main memory that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _group(place: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        most, now = (place / "memory.max").read_text().strip(), (place / "memory.current").read_text().strip()
    except OSError:
        return None
    return None if most == "max" else max(0, int(most) - int(now))
