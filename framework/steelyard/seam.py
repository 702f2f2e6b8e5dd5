"""Seams: the places where a run may be changed, and who claims them."""

from dataclasses import dataclass
from enum import StrEnum


class Seam(StrEnum):
    """A place where a run may be changed, in build order.

    A plugin `owns` a seam alone or `shares` it, like a readers-writer lock: any number may share, an owner
    tolerates nobody. Conflicts are found from these claims, so no plugin ever names another.
    """

    MODULES = "modules"
    """Layers of the task: normalisation, LoRA, quantisation."""
    BATCHES = "batches"
    """What the loaders yield and how much of it makes a step."""
    OBJECTIVE = "objective"
    """The loss."""
    GRADIENTS = "gradients"
    """Between backward and the optimizer's step: DP-SGD, clipping."""
    OPTIMIZER = "optimizer"
    """What `configure_optimizers` gives: 8-bit, EMA, SAM, frozen groups."""
    PRECISION = "precision"
    """Number formats."""
    GRAPH = "graph"
    """torch.compile, activation checkpointing."""
    LENGTH = "length"
    """When training ends."""
    DEVICES = "devices"
    """Where and on how many processes it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerArgument:
    """How the core claims a seam for an argument of the Trainer that the user has set."""

    seam: Seam
    owns: bool
    default: object = None


TRAINER_ARGUMENTS: dict[str, TrainerArgument] = {
    "accumulate_grad_batches": TrainerArgument(seam=Seam.BATCHES, owns=True, default=1),
    "limit_train_batches": TrainerArgument(seam=Seam.BATCHES, owns=True),
    "overfit_batches": TrainerArgument(seam=Seam.BATCHES, owns=True, default=0.0),
    "reload_dataloaders_every_n_epochs": TrainerArgument(seam=Seam.BATCHES, owns=True, default=0),
    "gradient_clip_val": TrainerArgument(seam=Seam.GRADIENTS, owns=True),
    "gradient_clip_algorithm": TrainerArgument(seam=Seam.GRADIENTS, owns=True),
    "precision": TrainerArgument(seam=Seam.PRECISION, owns=True),
    # Limits only ever make a run shorter, so several of them live together.
    "max_epochs": TrainerArgument(seam=Seam.LENGTH, owns=False),
    "max_steps": TrainerArgument(seam=Seam.LENGTH, owns=False, default=-1),
    "max_time": TrainerArgument(seam=Seam.LENGTH, owns=False),
    "min_epochs": TrainerArgument(seam=Seam.LENGTH, owns=False),
    "min_steps": TrainerArgument(seam=Seam.LENGTH, owns=False),
    "strategy": TrainerArgument(seam=Seam.DEVICES, owns=True, default="auto"),
    "devices": TrainerArgument(seam=Seam.DEVICES, owns=False, default="auto"),
    "accelerator": TrainerArgument(seam=Seam.DEVICES, owns=False, default="auto"),
    "num_nodes": TrainerArgument(seam=Seam.DEVICES, owns=True, default=1),
}
"""Which seam each argument of `pytorch_lightning.Trainer` touches; an argument at its default claims nothing."""
