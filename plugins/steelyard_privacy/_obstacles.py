# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What keeps a run from being private, found before it starts."""

from collections.abc import Iterator
from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import nn

from steelyard.draft import Draft
from steelyard.problem import Problem, Refused
from steelyard.seam import Seam
from steelyard_privacy import _pld
from steelyard_privacy._larger import advice
from steelyard_privacy._plan import make_plan
from steelyard_privacy.dp_sgd import DPSGD

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
RUNNING = ("running_mean", "running_var")
RUNNING_IN_KERAS = ("moving_mean", "moving_variance")
NORM_FIX = "model.norm=group"
HALVES = ("16", "16-mixed", "16-true")
STRATEGIES = (
    "auto",
    "single_device",
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
)
"""Those that leave each process the whole weights."""


def obstacles(plugin: DPSGD, draft: Draft) -> Iterator[Problem]:
    """All of them, and the plan as a note where there is one."""
    yield from layer_problems(draft.task)
    yield from _task_problems(draft.task)
    yield from _trainer_problems(draft.trainer)
    try:
        plan = make_plan(plugin, draft)
    except Refused as refused:
        yield from refused.problems
        return
    yield Problem(str(plan), level="note")
    proposed = advice(plan, draft.task, given=plugin.noise_multiplier is not None)
    if plan.signal_to_noise is not None and plan.signal_to_noise < 1:
        gains = proposed is None or bool(proposed.fix)
        what = "larger batches over the same epochs" if gains else "more epochs"
        yield Problem(
            f"each step is more noise than signal: {what}, fewer trained weights or a larger epsilon help, and a "
            "learning rate so small that many steps average",
            f"data.batch_size={4 * plan.population.batch_size}" if gains else "compute=[cost,lora]",
            level="note",
        )
    if proposed is not None:
        yield proposed
    if not _pld.available():
        yield Problem(
            "dp-accounting is not installed: epsilon is the Renyi bound, which is some 10 % larger than the truth",
            _pld.INSTALL,
            level="note",
        )
    if plugin.noise_seed is not None:
        yield Problem(
            "noise_seed is set: whoever knows it can take the noise off again",
            "privacy.dp_sgd.noise_seed=null",
            level="note",
        )


def check_layers(task: nn.Module) -> None:
    """Looks at the layers alone.

    Raises:
        Refused: With everything about them that breaks the guarantee.
    """
    if problems := list(layer_problems(task)):
        raise Refused(problems)


def layer_problems(task: nn.Module) -> Iterator[Problem]:
    """Layers through which one example reaches the others, or stays behind in running statistics.

    It does not matter whether they have weights or are in eval mode: Lightning puts the task into train mode.
    """
    for name, module in task.named_modules():
        kind = type(module).__name__
        if isinstance(module, BATCH_NORMS):
            yield Problem(
                f"{name} is {kind}: it mixes the examples of a batch, so clipping does not bound what one gives away",
                NORM_FIX,
                seam=Seam.MODULES,
            )
        elif isinstance(module, INSTANCE_NORMS) and module.track_running_stats:
            yield Problem(
                f"{name} is {kind} with running statistics: they keep a trace of the training data without any noise",
                "use track_running_stats=False, or " + NORM_FIX,
                seam=Seam.MODULES,
            )
        elif any(buffer in RUNNING for buffer, _ in module.named_buffers(recurse=False)):
            message = f"{name} is {kind}, which keeps running statistics of the training data"
            yield Problem(message, NORM_FIX, seam=Seam.MODULES)
        elif any(buffer.startswith(RUNNING_IN_KERAS) for buffer, _ in module.named_buffers(recurse=False)):
            yield Problem(
                f"{name} is {kind} with a BatchNormalization, which mixes the examples of a batch and keeps running "
                "statistics of the training data",
                "keras.layers.GroupNormalization in its place, or privacy=none",
                seam=Seam.MODULES,
            )


def _task_problems(task: LightningModule) -> Iterator[Problem]:
    if not task.automatic_optimization:
        yield Problem(
            "the task optimises manually (also the only way to use several optimizers), so its steps cannot be counted",
            "set automatic_optimization = True and use one optimizer, or privacy=none",
        )
    elif type(task).backward is not LightningModule.backward:
        yield Problem(
            f"{type(task).__name__} has a backward of its own, which per-example gradients would go past",
            "remove backward(), or privacy=none",
        )
    if is_param_in_hook_signature(task.training_step, "dataloader_iter", explicit=True):
        yield Problem(
            "training_step takes its batches from dataloader_iter, so it is not known what one step has seen",
            "take `batch` instead",
        )


def _trainer_problems(trainer: dict[str, Any]) -> Iterator[Problem]:
    precision = trainer.get("precision")
    if str(precision) in HALVES:
        yield Problem(
            f"trainer.precision={precision} scales the loss by what it sees in un-noised gradients",
            "trainer.precision=bf16-mixed",
        )
    strategy = trainer.get("strategy", "auto")
    if trainer.get("num_nodes", 1) != 1:
        yield Problem("DP-SGD runs on one machine", "trainer.num_nodes=1")
    if strategy not in STRATEGIES:
        yield Problem(f"DP-SGD needs the whole weights in each process, and not {strategy}", "trainer.strategy=ddp")
