# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The live half of `compute=lora`; the only place of the plugins that touches `peft`."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from pytorch_lightning import LightningModule, Trainer
from torch import nn
from transformers.pytorch_utils import Conv1D

from steelyard import randomness
from steelyard._untyped import named_modules
from steelyard.attachment import Attachment
from steelyard.draft import Draft
from steelyard.measurement import Artefact, Better, Measurement
from steelyard.problem import Problem, refuse
from steelyard.runs import Run
from steelyard_compute.lora import LoRA

LINEAR = (nn.Linear, Conv1D)
KINDS = (*LINEAR, nn.Embedding, nn.Conv1d, nn.Conv2d)
READ_WITHOUT_A_CALL = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
MIB = 1024 * 1024


def attach(plugin: LoRA, draft: Draft) -> "LoRAAttachment":
    """The attachment, with the task's layers changed in place."""
    return LoRAAttachment(plugin, draft.task, whole=inject(plugin, draft))


def inject(plugin: LoRA, draft: Draft) -> int:
    """Puts the matrices beside the layers, and freezes the rest; how many numbers the model had before.

    Raises:
        Refused: If another plugin has done it.
    """
    task = draft.task
    if any(isinstance(module, BaseTunerLayer) for module in task.modules()):
        raise refuse("another plugin has put small matrices on the model already", fix=f"compute={plugin.called}")
    whole = sum(weight.numel() for weight in task.parameters())
    full = [weight for name, weight in task.named_parameters() if _matches(name, plugin.full)]
    names = "|".join(map(re.escape, chosen(plugin, task)))
    # The library takes any number for the scale; its annotation says int.
    lora: Any = LoraConfig
    wanted = lora(r=plugin.rank, lora_alpha=plugin.alpha, lora_dropout=plugin.dropout, target_modules=names)
    with randomness.forked(), warnings.catch_warnings():
        # It turns the flag itself, layer by layer, and says so each time.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        torch.manual_seed(draft.seed)
        inject_adapter_in_model(wanted, task)
    # A remark for its own way of saving.
    delattr(task, "peft_config")
    for weight in full:
        weight.requires_grad_(True)
    return whole


def chosen(plugin: LoRA, task: nn.Module) -> dict[str, nn.Module]:
    """The layers that get matrices, by name: those that are not trained themselves and not passed over."""
    passed = {*passed_over(task)}
    kinds = KINDS if plugin.layers else LINEAR
    return {
        name: layer
        for name, layer in named_modules(task).items()
        if isinstance(layer, kinds)
        and name not in passed
        and (not plugin.layers or _matches(name, plugin.layers))
        and not _matches(f"{name}.weight", plugin.full)
    }


def passed_over(task: nn.Module) -> dict[str, str]:
    """Layers beside which matrices would have no effect, or too much of it: name -> why."""
    modules = named_modules(task)
    found: dict[str, str] = {}
    for name, module in modules.items():
        if isinstance(module, READ_WITHOUT_A_CALL):
            why = f"{type(module).__name__} reads its weights without calling it"
            found |= {f"{name}.{below}".lstrip("."): why for below, _ in module.named_modules() if below}
    owners = Counter(id(weight) for module in modules.values() for weight in module.parameters(recurse=False))
    for name, module in modules.items():
        if any(owners[id(weight)] > 1 for weight in module.parameters(recurse=False)):
            found[name] = "its weights are those of another layer, too"
    return found


def problems(plugin: LoRA, task: nn.Module) -> Iterator[Problem]:
    """All that stands in the way, read from names and types."""
    here = f"compute.{plugin.called}"
    modules, weights = named_modules(task), [name for name, _ in task.named_parameters()]
    if any(isinstance(module, BaseTunerLayer) for module in modules.values()):
        yield Problem("the model has adapters already", fix="model.lora_rank=0")
        return
    for field, patterns, names in (("layers", plugin.layers, [*modules]), ("full", plugin.full, weights)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                near = (*get_close_matches(pattern, names, n=1, cutoff=0.0), "*")[0]
                what = "layer" if field == "layers" else "weight"
                yield Problem(f"{field}: no {what} is called {pattern!r}", fix=f"{here}.{field}=['{near}']")
    passed = passed_over(task)
    for pattern in plugin.layers:
        matched = {name: modules[name] for name in modules if fnmatchcase(name, pattern)}
        able = {name for name, layer in matched.items() if isinstance(layer, KINDS)}
        refused = [f"{name}: {passed[name]}" for name in sorted(able) if name in passed]
        if refused:
            yield Problem(f"layers: no matrices can stand beside {refused[0]}", fix=f"{here}.layers=[]")
        elif matched and not able:
            name, layer = next(iter(matched.items()))
            yield Problem(
                f"layers: {name or 'the task'} is {type(layer).__name__}; matrices stand beside Linear, Conv1D, "
                "Embedding, Conv1d and Conv2d",
                fix=f"{here}.layers=['{name}.*']",
            )
    if not plugin.layers and not chosen(plugin, task):
        reasons = "; ".join(f"{name}: {why}" for name, why in passed.items() if isinstance(modules[name], LINEAR))
        yield Problem(
            "the model has no linear layer that matrices could stand beside" + (f" ({reasons[:200]})" * bool(reasons)),
            fix=f"{here}.layers=['model.*']",
        )


class LoRAAttachment(Attachment):
    """Merges where it is asked to, and says what was trained.

    Args:
        plugin: The settings.
        task: With the matrices on it.
        whole: Numbers of the model before.
    """

    def __init__(self, plugin: LoRA, task: LightningModule, *, whole: int) -> None:
        self._plugin = plugin
        self._whole = whole
        self._bytes = _trained_bytes(task)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The number format of the training is known now."""
        self._bytes = _trained_bytes(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the last checkpoint."""
        self.merge(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where there was no training."""
        self.merge(pl_module)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """What was trained, and whether every matrix moved: one beside a layer that is never called would not."""
        layers = adapters(run.task)
        still = [name for name, layer in layers.items() if not any(_moved(layer))]
        trained = sum(weight.numel() for weight in run.task.parameters() if weight.requires_grad)
        yield Measurement(
            name="trained_parameters",
            value=float(trained),
            better=Better.LOWER,
            note=f"{trained / self._whole:.2%} of the {self._whole:,} numbers of the model",
            meaning="numbers that training may change",
        )
        yield Measurement(
            name="trained_size",
            value=self._bytes / MIB,
            better=Better.LOWER,
            unit="MiB",
            note="in the number format of the training; gradients take the same again, Adam's state twice that",
            meaning="memory of the numbers that training may change",
        )
        merged = "added to the weights for measuring" if self._plugin.merge else "beside the weights"
        unmoved = f"; still as they began: {', '.join(still)}"[:200] if still else ""
        yield Measurement(
            name="moved_layers",
            value=float(len(layers) - len(still)),
            unit="layers",
            count=len(layers),
            note=f"rank {self._plugin.rank}, {merged}{unmoved}",
            meaning="layers whose small matrices training has changed",
        )

    def merge(self, task: nn.Module) -> None:
        """Adds the matrices to the weights, where that is asked for."""
        if self._plugin.merge:
            for layer in adapters(task).values():
                if not layer.merged:
                    layer.merge()


def adapters(task: nn.Module) -> Mapping[str, Any]:
    """The layers with matrices beside them."""
    return {name: module for name, module in named_modules(task).items() if isinstance(module, LoraLayer)}


def _moved(layer: Any) -> Iterator[bool]:
    """Of each matrix that begins at zero: the second one, and the first one beside an embedding."""
    for module in layer.lora_B.values():
        yield bool(module.weight.any())
    for weight in layer.lora_embedding_A.values():
        yield bool(weight.any())


def _trained_bytes(task: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in task.parameters() if weight.requires_grad)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
