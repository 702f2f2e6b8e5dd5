"""joblib: worker processes of its own, or a backend that was registered with it (dask, spark)."""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor
from typing_extensions import override

from steelyard.sweeping.elsewhere.hands import Crew, Lost
from steelyard.sweeping.elsewhere.parcel import Parcel
from steelyard.sweeping.pool import Ended


class Joblib(Crew):
    """A thread hands one parcel after the other to `joblib.Parallel`.

    Args:
        n_jobs: Trials at a time.
        backend: Of joblib; None for its default, or what `joblib.parallel_config` says.
    """

    def __init__(self, *, n_jobs: int, backend: str | None = None) -> None:
        self.workers, self._backend = n_jobs, backend
        self._over: queue.Queue[tuple[int, Ended | Lost]] = queue.Queue()
        self._left = threading.Event()

    @override
    def send(self, parcels: Sequence[Parcel]) -> None:
        threading.Thread(target=self._run, args=(list(parcels),), daemon=True).start()

    @override
    def ended(self, seconds: float) -> Mapping[int, Ended | Lost]:
        found: dict[int, Ended | Lost] = {}
        until = time.monotonic() + seconds
        while not found or not self._over.empty():
            try:
                number, what = self._over.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            found[number] = what
        return found

    @override
    def leave(self) -> None:
        self._left.set()
        if self.workers > 1 and self._backend in (None, "loky"):
            # A worker takes its trial along.
            get_reusable_executor().shutdown(wait=True, kill_workers=True)

    def _run(self, parcels: list[Parcel]) -> None:
        missing = {parcel.number for parcel in parcels}
        try:
            options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": "n_jobs", "return_as": "generator_unordered"}
            parallel: Any = joblib.Parallel(self.workers, backend=self._backend, **options)
            for ended in parallel(self._next(parcels)):
                missing.discard(ended.number)
                self._over.put((ended.number, ended))
        except Exception as error:  # a worker that dies takes the call with it
            for number in missing:
                self._over.put((number, Lost(reason=f"joblib: {type(error).__name__}: {error}")))

    def _next(self, parcels: list[Parcel]) -> Iterator[Any]:
        for parcel in parcels:
            if self._left.is_set():
                return
            yield joblib.delayed(_call)(parcel)


def _call(parcel: Parcel) -> Ended:
    return parcel()
