"""submitit: each trial a job of its own, on this machine or in SLURM's queue."""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from typing_extensions import override

from steelyard.sweeping.elsewhere.hands import Crew, Lost
from steelyard.sweeping.elsewhere.parcel import Parcel
from steelyard.sweeping.pool import Ended

FOLDER = ".submitit"
"""In the sweep folder: what submitit writes of its jobs."""


class Submitit(Crew):
    """Submits all trials as one array.

    Args:
        cluster: local, slurm, or debug for this process.
        place: The sweep folder, which the machines of the cluster see as well.
        trials: How many there are.
        parameters: Of `submitit.AutoExecutor.update_parameters`.
    """

    def __init__(self, *, cluster: str, place: Path, parameters: Mapping[str, Any], trials: int) -> None:
        requeues = parameters.get("slurm_max_num_timeout")
        given = {} if requeues is None else {"slurm_max_num_timeout": requeues}
        self._executor = submitit.AutoExecutor(place / FOLDER / "%j", cluster=cluster, **given)
        rest = {name: value for name, value in parameters.items() if name != "slurm_max_num_timeout"}
        self._executor.update_parameters(**{name: value for name, value in rest.items() if value is not None})
        self._jobs: dict[int, Any] = {}
        self.workers = int(parameters.get("slurm_array_parallelism") or trials)

    @override
    def send(self, parcels: Sequence[Parcel]) -> None:
        with self._executor.batch():
            jobs = [self._executor.submit(parcel) for parcel in parcels]
        self._jobs.update({parcel.number: job for parcel, job in zip(parcels, jobs, strict=True)})

    @override
    def ended(self, seconds: float) -> Mapping[int, Ended | Lost]:
        time.sleep(seconds)
        over = {number: job for number, job in self._jobs.items() if job.done()}
        for number in over:
            del self._jobs[number]
        return {number: _result(job) for number, job in over.items()}

    @override
    def leave(self) -> None:
        for job in self._jobs.values():
            job.cancel()
        self._jobs.clear()


def _result(job: Any) -> Ended | Lost:
    try:
        return job.result()
    except Exception as error:  # whatever became of the job is the trial's reason
        *_, last = str(error).strip().splitlines() or [type(error).__name__]
        return Lost(reason=f"job {job.job_id}: {last}")
