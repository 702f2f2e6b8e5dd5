"""The safe context: gradients of a task's inputs without a trace in the task."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from pytorch_lightning import LightningModule
from torch import nn

from steelyard.measuring import looking


@contextmanager
def explaining(task: LightningModule) -> Generator[None]:
    """Eval mode, gradients on, inference mode off; flags, buffers and random streams are put back, whatever happens.

    Inputs must be clones made inside: autograd refuses tensors that were born in inference mode.
    """
    kept = {name: buffer.clone() for name, buffer in task.named_buffers()}
    recurrent = any(isinstance(module, nn.RNNBase) for module in task.modules())
    # cuDNN has no backward pass for recurrent layers in eval mode.
    cudnn = torch.backends.cudnn.enabled and not recurrent
    try:
        with looking(task), torch.backends.cudnn.flags(enabled=cudnn):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in task.named_buffers():
                if name in kept and not torch.equal(buffer, kept[name]):
                    buffer.copy_(kept[name])
