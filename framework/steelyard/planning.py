"""`steelyard plan`: preflight and the predicted cost, without training."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import LightningModule, seed_everything
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from steelyard import building, requirements, spec
from steelyard.draft import Draft
from steelyard.narrowing import is_mapping
from steelyard.preflight import preflight
from steelyard.problem import Refused
from steelyard.selection import Selected, plugins_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What a run would be and cost.

    Attributes:
        spec: Hash of the config alone, so that equal trials of a sweep are recognised.
        choices: Config group -> chosen option(s).
        plugins: Keys of the plugins, in order.
        parameters: Weights in total.
        trainable: Weights that are trained.
        flops_per_step: Forward and backward of one batch, FLOP = 2 MAC; None where it could not be counted.
        steps: Optimizer steps of the whole run; None where the length is open.
        notes: Remarks of the composition and of preflight.
        checkpoint_bytes: What is kept of the weights, about; 0 where no checkpoint is.
        spends: What plugins use up that adds up over runs, e.g. {"epsilon": 8.0}.
    """

    spec: str
    choices: Mapping[str, str]
    plugins: tuple[str, ...]
    parameters: int
    trainable: int
    flops_per_step: int | None
    steps: int | None
    notes: tuple[str, ...] = ()
    checkpoint_bytes: int = 0
    spends: Mapping[str, float] = field(default_factory=dict[str, float])

    def text(self) -> str:
        """For the terminal."""
        flops = "unknown" if self.flops_per_step is None else f"{self.flops_per_step:,}"
        total = (
            "unknown"
            if self.flops_per_step is None or self.steps is None
            else f"{self.flops_per_step * self.steps:.3g}"
        )
        rows = [
            ("spec", self.spec),
            ("choices", ", ".join(f"{group}={value}" for group, value in self.choices.items())),
            ("plugins", ", ".join(self.plugins) or "none"),
            ("parameters", f"{self.parameters:,} ({self.trainable:,} trainable)"),
            ("steps", "open" if self.steps is None else f"{self.steps:,}"),
            ("FLOPs per step", f"{flops}  (FLOP = 2 MAC; forward and backward of one batch, without plugins)"),
            ("FLOPs in total", total),
            *((what, f"{amount:.4g}") for what, amount in self.spends.items()),
            *(("note", note) for note in self.notes),
        ]
        return "\n".join(f"{name:>15}  {value}" for name, value in rows)


def plan(
    config: DictConfig, *, choices: Mapping[str, str], overrides: Sequence[str], notes: Sequence[str] = ()
) -> PlanReport:
    """Everything up to preflight, on the meta device: no weight is allocated, whatever the model's size.

    Raises:
        Refused: With every problem that a run would be refused for.
    """
    del overrides
    found = [*requirements.problems(spec.plain(config).get("require") or {})]
    selected = plugins_of(config)
    if found:
        raise Refused(found)
    seed_everything(int(config.seed), verbose=False)
    data = building.make_data(config)
    with torch.device("meta"):
        draft = building.make_draft(config, data)
        draft.task.configure_model()
    problems = preflight(selected, draft)
    weights: list[Tensor] = list(draft.task.parameters())
    return PlanReport(
        spec=spec.spec_hash(config),
        choices=dict(choices),
        plugins=_keys(selected),
        parameters=sum(weight.numel() for weight in weights),
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
        flops_per_step=count_flops(draft),
        steps=count_steps(draft),
        notes=(*notes, *(problem.message for problem in problems)),
        checkpoint_bytes=_kept(weights) if config.get("checkpoints") == "last" else 0,
        spends=_spends(selected, draft),
    )


def count_flops(draft: Draft) -> int | None:
    """FLOPs (2 per multiply-accumulate) of one training step, or None where the step needs real numbers."""
    batch: Any = next(iter(draft.data.train_dataloader()))
    task: LightningModule = draft.task
    counter = FlopCounterMode(display=False)
    try:
        with warnings.catch_warnings(), counter:
            # Lightning warns that `self.log` has no Trainer here.
            warnings.simplefilter("ignore")
            moved = task.transfer_batch_to_device(batch, torch.device("meta"), 0)
            given: Any = task.training_step(moved, 0)
            loss: Any = given["loss"] if is_mapping(given) else given
            loss.backward()
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return None
    return int(counter.get_total_flops())


def count_steps(draft: Draft) -> int | None:
    """Optimizer steps by `max_epochs`, `max_steps` and the loader's length, or None where the end is open."""
    trainer = draft.trainer
    try:
        batches = len(draft.data.train_dataloader())
    except TypeError:
        batches = None
    limit = trainer.get("limit_train_batches")
    if batches is not None and limit is not None:
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, int(limit))
    most = trainer.get("max_steps")
    steps = None if most in (None, -1) else int(most)
    epochs = trainer.get("max_epochs")
    if epochs is None and steps is None:
        epochs = 1000
    if epochs not in (None, -1) and batches is not None:
        by_epochs = int(epochs) * math.ceil(batches / int(trainer.get("accumulate_grad_batches") or 1))
        steps = by_epochs if steps is None else min(steps, by_epochs)
    return steps


def _kept(weights: Sequence[Tensor]) -> int:
    """Bytes of a checkpoint: the weights, and for each that is trained two moments, as Adam has them."""
    return sum(weight.numel() * weight.element_size() * (3 if weight.requires_grad else 1) for weight in weights)


def _spends(selected: Sequence[Selected], draft: Draft) -> dict[str, float]:
    found: dict[str, float] = {}
    for choice in selected:
        for what, amount in choice.plugin.spends(draft).items():
            found[what] = found.get(what, 0.0) + amount
    return found


def _keys(selected: Sequence[Selected]) -> tuple[str, ...]:
    return tuple(choice.key for choice in selected)
