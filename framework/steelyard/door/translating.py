"""A run's config in the keys of LightningCLI, and back.

`_target_` with its options beside it is `class_path` with `init_args`; LightningCLI's `model` is our `task`; what a
node refers to by `${...}` stands in its place. The way there and back gives the config it began with.
"""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object
from omegaconf import OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import refuse
from steelyard.spec import BLANK, followed

Tree = dict[str, Any]

ASIDE = ("modality", "adapter")
"""Keys of a task's node that are no options of its class."""
LIFTED = ("model", "optimizer", "scheduler")
"""Parts of a task that have a config group of their own; the task refers to them."""


def to_lightning(config: Mapping[str, Any]) -> Tree:
    """The keys and nodes of LightningCLI, each class with what was said of it and nothing more.

    Args:
        config: Of a run, in plain values.

    Raises:
        Refused: If a node asks for what `class_path` and `init_args` cannot say.
    """
    whole = OmegaConf.create(dict(config))
    tree: Tree = followed(whole)
    task: Tree = tree.pop("task", None) or {}
    logger = tree.pop("logger", None)
    for name in LIFTED:
        tree.pop(name, None)
    return {
        "seed_everything": tree.pop("seed", 0),
        "trainer": {
            **_described(tree.pop("trainer", {})),
            **({} if logger is None else {"logger": _described(logger)}),
        },
        "model": _described({name: _none(value) for name, value in task.items() if name not in ASIDE}),
        "data": _described(tree.pop("data", {})),
        **{name: _described(task[name]) for name in ASIDE if name in task},
        **tree,
    }


def to_run(tree: Mapping[str, Any]) -> Tree:
    """The config of a run that `to_lightning` would make this of.

    Raises:
        Refused: If the seed is no number.
    """
    rest = dict(tree)
    seed = rest.pop("seed_everything", 0)
    if isinstance(seed, bool):
        raise refuse("seed_everything is a number: the seed belongs to what is measured", fix="--seed_everything 0")
    task: Tree = _targeted(rest.pop("model", None) or {})
    trainer = dict(rest.pop("trainer", None) or {})
    devices = trainer.get("devices")
    if isinstance(devices, str) and devices.isdigit():
        # The Trainer takes texts as well, so jsonargparse takes `--trainer.devices 4` for one.
        trainer["devices"] = int(devices)
    logger = trainer.pop("logger", None)
    aside = {name: _targeted(rest.pop(name)) for name in ASIDE if name in rest}
    lifted: Tree = {}
    for name in LIFTED:
        part = task.get(name, BLANK)
        if part is None or is_mapping(part):
            lifted[name] = {} if part is None else part
            task[name] = f"${{{name}}}"
    return {
        "seed": seed,
        "data": _targeted(rest.pop("data", None) or {}),
        "task": {**task, **aside},
        **lifted,
        "trainer": _targeted(trainer),
        "logger": None if logger in (None, False) else _targeted(logger),
        **rest,
    }


def _none(value: Any) -> Any:
    """An empty node stands for nothing; `class_path` has null for that."""
    return None if is_mapping(value) and not value else value


def _described(value: Any) -> Any:
    """`_target_` to `class_path`, all the way down."""
    if is_sequence(value):
        return [_described(item) for item in value]
    if not is_mapping(value):
        return value
    if "_target_" not in value:
        return {key: _described(item) for key, item in value.items()}
    path = value["_target_"]
    partial = value.get("_partial_", False)
    for key in value:
        if key.startswith("_") and key not in ("_target_", "_partial_"):
            raise refuse(f"{path} is given {key}, which class_path and init_args cannot say", fix=f"~{key}")
    if bool(partial) != _comes_late(path) and path != BLANK:
        raise refuse(f"{path} with _partial_={partial} cannot be said by class_path and init_args")
    rest = {key: _described(item) for key, item in value.items() if key not in ("_target_", "_partial_")}
    return {"class_path": path, "init_args": rest}


def _targeted(value: Any) -> Any:
    """`class_path` to `_target_`, all the way down."""
    if is_sequence(value):
        return [_targeted(item) for item in value]
    if not is_mapping(value):
        return value
    if "class_path" not in value:
        return {key: _targeted(item) for key, item in value.items()}
    path = value["class_path"]
    rest: Tree = {**(value.get("init_args") or {}), **(value.get("dict_kwargs") or {})}
    late = {"_partial_": True} if _comes_late(path) else {}
    return {"_target_": path, **late, **{key: _targeted(item) for key, item in rest.items()}}


def _comes_late(path: str) -> bool:
    """True for a class that needs the model's weights, or the optimizer, to be made."""
    try:
        found = get_object(path)
    except Exception:
        # It is refused where it is made, by Hydra's own rules.
        return False
    return isinstance(found, type) and issubclass(found, Optimizer | LRScheduler)
