"""The loggers of a config: one node, a list of nodes, or none; and what a run or a sweep knows that they do not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from steelyard import folder
from steelyard.narrowing import is_mapping, is_sequence

FILE = "tracking.json"
"""Class of the logger -> the tracker's own id of the run, so that a resumed run goes on under it."""
LIBRARIES = {"MLFlowLogger": "mlflow", "WandbLogger": "wandb", "TensorBoardLogger": "tensorboard"}
"""Class of a logger -> the library, and the extra of the same name, that it needs."""
IDS = {"MLFlowLogger": "run_id", "WandbLogger": "id"}
"""Class of a logger -> the option that makes it go on with a run."""

Node = dict[str, Any]


def nodes(config: DictConfig) -> list[Node]:
    """The nodes of all loggers, interpolations followed."""
    node: Any = config.get("logger")
    if node is None:
        return []
    # Followed here, where the whole config is at hand: `${seed}` means the run's.
    found: Any = OmegaConf.to_container(node, resolve=True)
    every: Any = [found] if is_mapping(found) else found
    assert is_sequence(every)
    return [dict(one) for one in every if is_mapping(one) and "_target_" in one]


def kind(node: Mapping[str, Any]) -> str:
    """The class that a node names, without its module."""
    return str(node["_target_"]).rpartition(".")[2]


def ids(place: Path) -> dict[str, str]:
    """Class of the logger -> id, as kept in `place`; empty where nothing was kept."""
    path = place / FILE
    return dict(folder.read_json(path)) if path.exists() else {}


def filled(node: Mapping[str, Any], place: Path, *, group: str | None) -> Node:
    """A node with what the run knows: its folder for `???`, the id of an earlier start, its sweep.

    Args:
        node: Of one logger.
        place: The run folder, or the sweep folder.
        group: The sweep's name, for trackers that put runs in groups.
    """
    full: Node = {key: str(place) if value == "???" else value for key, value in node.items()}
    name = kind(node)
    known = ids(place).get(name)
    if known and not full.get(IDS[name]):
        full[IDS[name]] = known
    if name == "WandbLogger" and group and not full.get("group"):
        full["group"] = group
    return full
