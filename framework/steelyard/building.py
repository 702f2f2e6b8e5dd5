"""Building the plain draft from the config."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule, LightningModule

from steelyard.adapters import Adapter, Facts, adapter_for, likely_modality
from steelyard.draft import Draft
from steelyard.kinds import mismatch
from steelyard.narrowing import is_mapping, is_sequence
from steelyard.problem import Problem, Refused, refuse
from steelyard.spec import plain


def make_data(config: DictConfig) -> LightningDataModule:
    """The data module, prepared and set up.

    Raises:
        Refused: If it cannot be made, or what is missing.
    """
    data = _make(config, "data", LightningDataModule)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def make_draft(config: DictConfig, data: LightningDataModule) -> Draft:
    """The draft before any plugin has touched it. The caller seeds first; under a meta device nothing is allocated.

    Raises:
        Refused: If the config does not fit the classes that it names.
    """
    if misfit := mismatch(config, data):
        raise Refused([misfit])
    filled = fill(config, getattr(data, "sizes", {}))
    task_node = filled.task
    modality, own_adapter = task_node.pop("modality", None), task_node.pop("adapter", None)
    task = _make(filled, "task", LightningModule)
    if own_adapter is not None and "_target_" in own_adapter:
        adapter: Any = instantiated(own_adapter, "task.adapter", str(own_adapter["_target_"]))
    else:
        adapter = _adapter(modality, data, task, options={} if own_adapter is None else plain(own_adapter))
    assert isinstance(adapter, Adapter)
    return Draft(task=task, data=data, trainer=_trainer(filled), adapter=adapter, seed=int(filled.seed))


def fill(config: DictConfig, sizes: Mapping[str, Any]) -> DictConfig:
    """A copy in which `???` under `model` and `task` is replaced by what the data knows of itself.

    Raises:
        Refused: Naming every value that nobody knows.
    """
    filled: Any = OmegaConf.create(plain(config))
    problems: list[Problem] = []
    for group in ("model", "task"):
        for path in _missing(filled.get(group), group):
            name = path.rpartition(".")[2]
            if name in sizes:
                value = sizes[name]
                OmegaConf.update(filled, path, [*value] if is_sequence(value) else value)
            elif group == "task" or "${model" in str(plain(filled.task)):
                # A task of one's own need not have a use for the model of the config.
                problems.append(Problem(f"{path} has no value, and the data does not know it", f"{path}=..."))
    if problems:
        raise Refused([*_replaced("task", filled.get("task")), *problems])
    return filled


def _replaced(group: str, node: Any) -> Iterator[Problem]:
    """A class of the user's own under the options of one of ours, which it need not have."""
    target = str(node.get("_target_") or "") if isinstance(node, DictConfig) else ""
    if target and target.partition(".")[0] != __name__.partition(".")[0]:
        what = f"{target} has options without a value: if they are those of another {group}, leave them out"
        yield Problem(what, f"{group}=custom {group}._target_={target}")


def _missing(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, DictConfig):
        for key in list(node):
            below = f"{path}.{key}"
            if OmegaConf.is_missing(node, key):
                yield below
            elif not OmegaConf.is_interpolation(node, key):
                yield from _missing(node[key], below)


def _make(config: DictConfig, group: str, kind: type[Any]) -> Any:
    node = config.get(group)
    target = node.get("_target_") if node is not None and not OmegaConf.is_missing(node, "_target_") else None
    if target is None:
        raise refuse(f"{group} names no class", fix=f"{group}._target_=my_module.MyClass")
    made = instantiated(node, group, target)
    if not isinstance(made, kind):
        raise refuse(f"{target} is no {kind.__name__}", fix=f"{group}._target_=my_module.MyClass")
    return made


def instantiated(node: Any, where: str, target: str, *, convert: str = "none") -> Any:
    """What a node names, by Hydra and its rules on what may be named.

    Args:
        node: With `_target_`.
        where: Its path in the config.
        target: What it names, for the message.
        convert: Hydra's `_convert_`.

    Raises:
        Refused: If it cannot be made.
    """
    try:
        return instantiate(node, _convert_=convert)
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, Refused):
            raise cause from None
        raise refuse(
            f"{where} cannot be made: {_reason(error, target)}", fix=_hint(node, where, target, cause)
        ) from error


def _reason(error: InstantiationException, target: str) -> str:
    words = str(error.__cause__ or error).splitlines()
    return f"{target}: {words[0] if words else type(error).__name__}"


def _hint(node: Any, group: str, target: str, cause: BaseException | None) -> str:
    if isinstance(cause, TypeError) and "unexpected keyword" in str(cause):
        return _left_over(node, str(cause)) or f"{group}=custom {group}._target_={target}"
    if isinstance(cause, TypeError) and "required" in str(cause):
        return _left_out(node, group, str(cause))
    if isinstance(cause, ImportError | AttributeError) or cause is None:
        return f"{group}._target_=my_module.MyClass"
    # The class itself says what it does not like.
    return ""


def _left_out(node: Any, group: str, cause: str) -> str:
    """Gives a class what it must have, `???` being what the data knows; "" where it is not about its arguments."""
    found = re.search(r"(\w+)\.__init__\(\) missing \d+ required .*?: (.*)", cause)
    if found is None:
        return ""
    model = node.get("model") if isinstance(node, DictConfig) else None
    inner = isinstance(model, DictConfig) and str(model.get("_target_")).rpartition(".")[2] == found[1]
    names = re.findall(r"'(\w+)'", found[2])
    return " ".join(f"+{'model' if inner else group}.{name}=???" for name in names)


def _left_over(node: Any, cause: str) -> str:
    """Leaves out what an experiment set for another model than the one that took its place; "" where it is not that."""
    found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", cause)
    model = node.get("model") if isinstance(node, DictConfig) else None
    if found is None or not isinstance(model, DictConfig) or found[2] not in model:
        return ""
    return f"~model.{found[2]}" if str(model.get("_target_")).rpartition(".")[2] == found[1] else ""


def _adapter(
    modality: str | None, data: LightningDataModule, task: LightningModule, *, options: Mapping[str, Any]
) -> Adapter:
    known = {field.name: getattr(data, field.name) for field in fields(Facts) if hasattr(data, field.name)}
    scoring: Any = getattr(task, "scoring", None)

    def guess() -> str | None:
        try:
            return likely_modality(next(iter(data.test_dataloader())))
        except Exception:  # a stranger's data may fail in any way, and the run is refused for another reason
            return None

    named = modality or getattr(data, "modality", None)
    return adapter_for(named, facts=Facts(**known), scoring=scoring, options=options, guess=guess)


def _trainer(config: DictConfig) -> dict[str, Any]:
    made: Any = instantiated(config.get("trainer") or {}, "trainer", "its arguments", convert="all")
    assert is_mapping(made)
    return dict(made)


def plain_list(value: Any) -> list[Any]:
    """A config value as a list: null is empty, a single thing is a list of one."""
    if value is None:
        return []
    return [*value] if is_sequence(value) else [value]
