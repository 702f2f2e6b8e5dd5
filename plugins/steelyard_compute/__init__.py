"""Steelyard's plugins for the challenge `compute`."""

from steelyard_compute.accumulation import Accumulation
from steelyard_compute.budget import Budget
from steelyard_compute.checkpointing import Checkpointing
from steelyard_compute.compile import Compile
from steelyard_compute.cost import Cost
from steelyard_compute.distill import Distill
from steelyard_compute.early_stopping import EarlyStopping
from steelyard_compute.freeze import Freeze
from steelyard_compute.lora import LoRA
from steelyard_compute.optimizer_8bit import Optimizer8bit
from steelyard_compute.precision import Precision
from steelyard_compute.progressive_resize import ProgressiveResize
from steelyard_compute.prune import Prune
from steelyard_compute.qlora import QLoRA
from steelyard_compute.quantize import Quantize
from steelyard_compute.sequence_warmup import SequenceWarmup

__all__ = [
    "Accumulation",
    "Budget",
    "Checkpointing",
    "Compile",
    "Cost",
    "Distill",
    "EarlyStopping",
    "Freeze",
    "LoRA",
    "Optimizer8bit",
    "Precision",
    "ProgressiveResize",
    "Prune",
    "QLoRA",
    "Quantize",
    "SequenceWarmup",
]
