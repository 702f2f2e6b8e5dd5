"""`hydra/launcher=joblib|submitit_local|submitit_slurm|ray` of `steelyard run -m`.

Hydra's sweeper composes the trials as with `hydra/launcher=steelyard`; who runs them is `steelyard.sweeping.elsewhere`.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from typing_extensions import override


class SteelyardElsewhere(Launcher):
    """Writes the trials down.

    Args:
        **options: Of those who run them.
    """

    def __init__(self, **options: Any) -> None:
        del options

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra_plugins.steelyard_launcher import SteelyardLauncher
        from steelyard.composing import Collector

        if not isinstance(task_function, Collector):
            raise ValueError("this launcher runs the trials of `steelyard run -m` alone")
        self._collecting = SteelyardLauncher()
        self._collecting.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self._collecting.launch(job_overrides, initial_job_idx)
