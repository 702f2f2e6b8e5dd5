"""`hydra/sweeper=random`: random search, for any Hydra application and any launcher.

`lr=tag(log, interval(1e-5, 1e-1)) width=int(interval(8, 64)) act=relu,gelu depth=range(1,5)`: each trial takes a value
from each; what has one value stays as it is.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override


@dataclass
class RandomSweeperConf:
    """The options of `hydra/sweeper=random`.

    Attributes:
        n_trials: How many trials, all different; fewer where there are no more.
        seed: Of the draws.
        params: Key -> what it may be, as on the command line, whose words come last.
    """

    _target_: str = "hydra_plugins.steelyard_random_sweeper.RandomSweeper"
    n_trials: int = 20
    seed: int = 0
    params: dict[str, Any] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="random", node=RandomSweeperConf, provider="steelyard")


class RandomSweeper(Sweeper):
    """Draws trials at random and hands them to the launcher, all at once.

    Args:
        n_trials: How many, at least 1.
        seed: Of the draws.
        params: Key -> what it may be.
    """

    def __init__(self, n_trials: int, seed: int, params: Mapping[str, Any] | None = None) -> None:
        self._count, self._seed, self._params = n_trials, seed, dict(params or {})

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    @override
    def sweep(self, arguments: list[str]) -> Any:
        from steelyard.problem import refuse
        from steelyard.sweeping.space import read_space

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        if self._count < 1:
            raise refuse(f"hydra.sweeper.n_trials={self._count} draws nothing", fix="hydra.sweeper.n_trials=20")
        words = [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        space = read_space(words, self.hydra_context.config_loader)
        place = Path(str(self.config.hydra.sweep.dir))
        place.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, place / "multirun.yaml")
        drawn = [list(trial) for trial in space.random(self._count, seed=self._seed)]
        returned = self.launcher.launch(drawn, initial_job_idx=0)
        for one in returned:
            _ = one.return_value  # raises what the job raised
        return [returned]
