"""`hydra/sweeper=optuna`: each trial of `steelyard run -m` is chosen by the results of those before it.

The name is that of Hydra's own plugin for Optuna 2, which asks for a whole batch at a time and does not know what a
scorecard is; one of the two is installed.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# A config is a tree of anything.

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override


@dataclass
class OptunaSweeperConf:
    """The options of `hydra/sweeper=optuna`; `steelyard.sweeping.settings.Searching` says what they mean.

    Attributes:
        params: Key -> what it may be, as on the command line, whose words come last.
    """

    _target_: str = "hydra_plugins.steelyard_optuna_sweeper.OptunaSweeper"
    n_trials: int = 20
    maximize: list[str] = field(default_factory=list)
    minimize: list[str] = field(default_factory=list)
    sampler: str = "tpe"
    seed: int | None = 0
    prune: str | None = None
    prune_after: int = 5
    storage: str | None = None
    study_name: str | None = None
    params: dict[str, Any] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="steelyard")


class OptunaSweeper(Sweeper):
    """Reads what is looked through, and hands it to whoever runs the trials.

    Args:
        **options: Those of `OptunaSweeperConf`; read from the config, where they are checked.
    """

    def __init__(self, **options: Any) -> None:
        del options

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config, self._task = hydra_context, config, task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    @override
    def sweep(self, arguments: list[str]) -> Any:
        from hydra_plugins.steelyard_launcher import SteelyardLauncher
        from steelyard import schema
        from steelyard.composing import Collector
        from steelyard.problem import refuse
        from steelyard.sweeping.settings import Searching
        from steelyard.sweeping.space import read_space

        assert self.config is not None
        assert self.hydra_context is not None
        if not isinstance(self._task, Collector):
            raise refuse("hydra/sweeper=optuna reads scorecards, so it works in steelyard run -m alone")
        if not isinstance(self.launcher, SteelyardLauncher):
            raise refuse("hydra/sweeper=optuna runs its trials by Steelyard's launcher", fix="hydra/launcher=steelyard")
        node: Any = OmegaConf.to_container(self.config.hydra.sweeper, resolve=True)
        del node["_target_"]
        params: dict[str, Any] = node.pop("params") or {}
        settings = schema.build(Searching, node, path="hydra.sweeper")
        words = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        space = read_space(words, self.hydra_context.config_loader)
        self._task.ask_later(settings=settings, space=space, composed=self.launcher.composed)
        return []
