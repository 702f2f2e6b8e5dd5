"""ray: trials on the machines of its cluster."""

# pyright: reportUnknownMemberType=false, reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from typing_extensions import override

from steelyard.sweeping.elsewhere.hands import Crew, Lost
from steelyard.sweeping.elsewhere.parcel import Parcel
from steelyard.sweeping.pool import Ended


class Ray(Crew):
    """One task a trial, which is not tried again by ray.

    Args:
        init: Of `ray.init`: the address of a cluster, or how large a local one is to be.
        remote: Of `ray.remote`: what a trial needs.
    """

    def __init__(self, *, init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
        self._began = not ray.is_initialized()
        if self._began:
            ray.init(**{name: value for name, value in init.items() if value is not None})
        known = {name: value for name, value in remote.items() if value is not None}
        self._task: Any = ray.remote(max_retries=0, **known)(_call)
        self._refs: dict[Any, int] = {}
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1) // (known.get("num_cpus") or 1)))

    @override
    def send(self, parcels: Sequence[Parcel]) -> None:
        self._refs.update({self._task.remote(parcel): parcel.number for parcel in parcels})

    @override
    def ended(self, seconds: float) -> Mapping[int, Ended | Lost]:
        done, _ = ray.wait(list(self._refs), num_returns=1, timeout=seconds)
        return {self._refs.pop(ref): _result(ref) for ref in done}

    @override
    def leave(self) -> None:
        for ref in self._refs:
            ray.cancel(ref, force=True)
        self._refs.clear()
        if self._began:
            ray.shutdown()


def _call(parcel: Parcel) -> Ended:
    return parcel()


def _result(ref: Any) -> Ended | Lost:
    try:
        return ray.get(ref)
    except Exception as error:  # whatever became of the task is the trial's reason
        first, *_ = str(error).splitlines() or [""]
        return Lost(reason=f"ray: {type(error).__name__}: {first}")
