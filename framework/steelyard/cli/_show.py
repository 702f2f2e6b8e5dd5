"""`--cfg` and `--info`: the config instead of a run."""

import sys

from omegaconf import DictConfig, ListConfig, OmegaConf

from steelyard.cli._flags import Flags
from steelyard.composing import Composed, compose, known_to_hydra
from steelyard.problem import refuse


def show(flags: Flags, composed: Composed | None) -> int:
    """Prints what `--cfg` or `--info` asks for: of the words, or of a config that was composed before."""
    if flags.info or flags.cfg in ("hydra", "all"):
        return _print_hydra(flags)
    return _print_config(flags, composed or compose(*flags.words, folders=flags.folders))


def _print_config(flags: Flags, composed: Composed) -> int:
    """Prints the config as the run folder would keep it; of a sweep, what its trials have in common."""
    with known_to_hydra(composed):
        node: object = composed.config
        if flags.package and flags.package != "_global_":
            node = OmegaConf.select(composed.config, flags.package)
            if node is None:
                raise refuse(f"the config has no node {flags.package}", fix="--cfg job")
            sys.stdout.write(f"# @package {flags.package}\n")
        if isinstance(node, DictConfig | ListConfig):
            sys.stdout.write(OmegaConf.to_yaml(node, resolve=flags.resolve))
        else:
            sys.stdout.write(f"{node}\n")
    return 0


def _print_hydra(flags: Flags) -> int:
    """Prints what Hydra itself knows."""
    from steelyard.composing import through_hydra

    words = list(flags.words)
    if flags.info:
        words += ["--info", flags.info]
    if flags.cfg:
        words += ["--cfg", flags.cfg, *(["--resolve"] if flags.resolve else [])]
        words += ["--package", flags.package] if flags.package else []
    through_hydra(words, folders=flags.folders)
    return 0
