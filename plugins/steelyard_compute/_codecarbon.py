# pyright: reportMissingImports=false, reportMissingModuleSource=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Energy by codecarbon; the only place that touches it (seen on 3.3.2)."""

from typing import Any, final

from codecarbon import OfflineEmissionsTracker

from steelyard_compute._energy import Energy

JOULES = 3.6e6
"""In a kilowatt-hour."""


@final
class CodeCarbon:
    """Adds up task after task of one tracker, which starts no thread that outlives them and asks no network."""

    def __init__(self) -> None:
        # The country decides about emissions, which nobody looks at here, and must be given.
        self._tracker: Any = OfflineEmissionsTracker(
            country_iso_code="FRA",
            save_to_file=False,
            log_level="error",
            tracking_mode="process",
            allow_multiple_runs=True,
        )
        self._joules, self._memory, self._turn = 0.0, 0.0, 0
        self._tracker.start_task("0")

    def read(self) -> Energy:
        """So far; the next stretch begins."""
        found = self.end()
        self._turn += 1
        self._tracker.start_task(str(self._turn))
        return found

    def end(self) -> Energy:
        """All of it; nothing begins."""
        data = self._tracker.stop_task(str(self._turn))
        if data is None:
            raise RuntimeError("codecarbon gave no energy: compute.cost.meter=own estimates it by CPU time")
        self._joules += JOULES * data.energy_consumed
        self._memory += JOULES * data.ram_energy
        power = f"{data.cpu_model}, lately at {data.cpu_power:.3g} W for this {data.tracking_mode}"
        memory = f"{self._memory:.3g} J of it are memory, at an assumed {data.ram_power:.3g} W"
        how = f"estimated by codecarbon {data.codecarbon_version}: {power}; {memory}"
        return Energy(joules=self._joules, measured=False, how=how)
