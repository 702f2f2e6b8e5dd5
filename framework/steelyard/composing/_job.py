"""One job of a sweep in a process of its own, as Hydra's `run_job` carries it out, without its copies of the config.

A process that runs one job and ends needs no copy to go back to. So the config is composed once for the task and once
for `hydra`, before the process starts, where all of it is warm; and the folder, the environment and Hydra's own state
are left as the job leaves them.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from steelyard.composing._loggers import set_up, walk_is_idle
from steelyard.composing._sketch import Sketch, folder, resolved_logs
from steelyard.composing._yaml import to_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that is composed.

    Attributes:
        config: Of the job, `hydra` included.
        handed: The same without `hydra`, for the task.
        sketch: What it has in common with others; None if that is not known.
        changed: The keys of `handed` below which it differs from them; None where that is not known.
    """

    config: DictConfig
    handed: DictConfig
    sketch: Sketch | None = None
    changed: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyJob:
    """A job that is about to start.

    Attributes:
        config: Of the job, `hydra` included.
        handed: What the task gets.
        place: Its folder.
        files: Name -> what Hydra writes down of the job.
        words: The job's overrides.
        moves: True if it changes into its folder.
        logs: How it logs, without interpolations; None for Hydra's default.
        idle_walk: What `walk_is_idle` says of that.
        environment: What it sets.
    """

    config: DictConfig
    handed: DictConfig
    place: Path
    files: Mapping[str, str]
    words: Sequence[str]
    moves: bool
    logs: Mapping[str, Any] | None
    idle_walk: bool
    environment: Mapping[str, str]


def get_ready(job: Job) -> ReadyJob:
    """All that comes before the job's process; it may change the configs."""
    state: Any = HydraConfig.instance()
    before = state.cfg
    try:
        # As `HydraConfig.set_config`, less its copy: the process that is to come is the only one that reads it.
        state.cfg = job.config
        return _ready(job)
    finally:
        state.cfg = before


def _ready(job: Job) -> ReadyJob:
    own = job.config.hydra
    # The folder's name may ask for what `hydra` is, so it comes after that.
    place = folder(own) if job.sketch is None else job.sketch.folder(job.config)
    runtime = own.runtime
    # Of the smallest part: OmegaConf goes through all that lies below.
    with open_dict(runtime):
        runtime.output_dir = str(place.absolute())
    OmegaConf.set_readonly(own, True)
    texts = _texts(job) if own.output_subdir is not None else {}
    logs: Any = resolved_logs(own) if job.sketch is None else job.sketch.resolved_logs(job.config)
    return ReadyJob(
        config=job.config,
        handed=job.handed,
        place=place,
        files={f"{own.output_subdir}/{name}.yaml": text for name, text in texts.items()},
        words=tuple(own.overrides.task),
        moves=not version.base_at_least("1.2") if own.job.chdir is None else own.job.chdir,
        logs=logs,
        idle_walk=walk_is_idle(logs, verbose=own.verbose),
        environment={str(name): str(value) for name, value in own.job.env_set.items()},
    )


def _texts(job: Job) -> dict[str, str]:
    own, known = job.config.hydra, job.sketch
    if known is None:
        plain = OmegaConf.to_container(own, enum_to_str=True)
        config, hydra = to_yaml(job.handed), to_yaml({"hydra": plain})
    else:
        config, hydra = known.config_text(job.handed, job.changed), known.hydra_text(own)
    return {"config": config, "hydra": hydra, "overrides": to_yaml(own.overrides.task)}


def run_job(job: ReadyJob, context: HydraContext, task: TaskFunction) -> JobReturn:
    """What Hydra does for one job of a sweep; to be called in a process that ends with it.

    Args:
        job: What to run.
        context: Of Hydra; its callbacks are told.
        task: The application.

    Returns:
        Result or error of the task, without the configs.
    """
    state: Any = HydraConfig.instance()
    state.cfg = job.config
    for place in dict.fromkeys([job.place, *((job.place / name).parent for name in job.files)]):
        place.mkdir(parents=True, exist_ok=True)
    for name, text in job.files.items():
        (job.place / name).write_text(text, encoding="utf-8")
    done = JobReturn(overrides=list(job.words))
    done.working_dir = str(job.place) if job.moves else str(Path.cwd())
    if job.moves:
        os.chdir(job.place)
    set_up(job.logs, verbose=job.config.hydra.verbose, idle=job.idle_walk)
    os.environ.update(job.environment)
    context.callbacks.on_job_start(config=job.config, task_function=task)
    try:
        done.return_value = task(job.handed)
        done.status = JobStatus.COMPLETED
    except Exception as error:  # whatever the application raises is its result
        done.return_value = error
        done.status = JobStatus.FAILED
    done.task_name = JobRuntime.instance().get("name")
    for handler in logging.root.handlers:
        handler.flush()
    context.callbacks.on_job_end(config=job.config, job_return=done)
    return done
