# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What differs where a training runs on a GPU."""

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

import torch

HOPPER = 9
"""Major version of what CUDA calls the compute capability; from it on cuBLAS gets more room."""
LARGE, SMALL = 32 * 2**20, 8 * 2**20 + 128 * 2**10
"""Bytes that torch gives to cuBLAS for each thread that multiplies matrices, on Hopper and later and before
(`getChosenWorkspaceSize` in torch's CUDABlas.cpp; CUBLAS_WORKSPACE_CONFIG changes it)."""
LIGHT = 2**20
"""Bytes that torch gives to cuBLASLt."""
GPU = ("gpu", "cuda")
"""Accelerators of a Trainer that are a CUDA GPU, or nothing."""


def wait_for(device: torch.device) -> None:
    """Until a GPU has done all that it was given; other devices are done when they answer."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def on_gpu(trainer: Mapping[str, Any]) -> bool:
    """Whether a Trainer of these arguments will train on a CUDA GPU of this machine; wakes none."""
    return _asked(trainer) in (*GPU, "auto", None) and torch.cuda.device_count() > 0


def lacks_gpu(trainer: Mapping[str, Any]) -> bool:
    """Whether a Trainer of these arguments cannot be made on this machine, which has no CUDA GPU; wakes none."""
    return _asked(trainer) in GPU and not torch.cuda.device_count()


def _asked(trainer: Mapping[str, Any]) -> Any:
    return trainer.get("accelerator", "auto")


def workspaces(major: int | None = None) -> int:
    """Bytes of torch's allocator on a GPU that a training takes for cuBLAS, in its forward and its backward thread.

    On an H200 with torch 2.11 small models took 65.0 MiB beside their tensors.

    Args:
        major: Of the compute capability; None where nobody knows it, for the larger ones.
    """
    each = SMALL if major is not None and major < HOPPER else LARGE
    return 2 * each + LIGHT


class Gpu(NamedTuple):
    """What is known of a GPU; None where nobody says it.

    Attributes:
        free: Bytes.
        major: Of the compute capability.
    """

    free: int | None = None
    major: int | None = None


def first_gpu() -> Gpu:
    """The first that CUDA may use, by the order of the bus; it is not woken.

    Nobody says anything of it where nvidia-ml-py is not installed, or has no driver.
    """
    with suppress(Exception):
        nvml: Any = import_module("pynvml")
        nvml.nvmlInit()
        name = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
        free, major = nvml.nvmlDeviceGetMemoryInfo(handle).free, nvml.nvmlDeviceGetCudaComputeCapability(handle)[0]
        return Gpu(int(free), int(major))
    return Gpu()
