"""Who runs the trials, by the launcher that was chosen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard.problem import refuse
from steelyard.sweeping.elsewhere.hands import Crew, Elsewhere
from steelyard.sweeping.pool import share
from steelyard.sweeping.settings import Sweep


def hands_of(launcher: str, options: Mapping[str, Any], place: Path, settings: Sweep, trials: int) -> Elsewhere:
    """Those who run the trials of a sweep.

    Args:
        launcher: One of `ELSEWHERE`.
        options: Of `hydra.launcher`.
        place: The sweep folder.
        settings: Of the sweep.
        trials: How many there are.

    Raises:
        Refused: If the library does not take the options.
    """
    given = {name: value for name, value in options.items() if name != "_target_"}
    try:
        crew, threads = _crew(launcher, given, place, settings, trials)
    except (TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise refuse(f"hydra/launcher={launcher}: {error}", fix=f"hydra/launcher={launcher}") from error
    return Elsewhere(crew=crew, place=place, threads=threads, seconds=settings.trial_seconds)


def _crew(launcher: str, options: dict[str, Any], place: Path, settings: Sweep, trials: int) -> tuple[Crew, int]:
    """And the threads of each trial."""
    if launcher == "joblib":
        from steelyard.sweeping.elsewhere._joblib import Joblib

        count = options.pop("n_jobs", None) or settings.workers
        workers, threads = share(None if count in (None, -1) else int(count), trials)
        return Joblib(n_jobs=workers, **options), threads
    if launcher == "ray":
        from steelyard.sweeping.elsewhere._ray import Ray

        remote: dict[str, Any] = options.get("remote") or {}
        return Ray(init=options.get("init") or {}, remote=remote), max(1, int(remote.get("num_cpus") or 1))
    from steelyard.sweeping.elsewhere._submitit import Submitit

    cluster = launcher.removeprefix("submitit_")
    crew = Submitit(cluster=cluster, place=place, parameters=options, trials=trials)
    return crew, max(1, int(options.get("cpus_per_task") or 1))
