# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The optimizer of a compiled Keras model, as one of PyTorch's that takes the same steps."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from steelyard.problem import refuse

KNOWN = ("Adam", "AdamW", "SGD")
ELSEWHERE = {
    "clipnorm": "optimizer=adam trainer.gradient_clip_val=1.0",
    "global_clipnorm": "optimizer=adam trainer.gradient_clip_val=1.0",
    "clipvalue": "optimizer=adam trainer.gradient_clip_val=1.0 trainer.gradient_clip_algorithm=value",
    "use_ema": "optimizer=adam trainer=ema",
    "loss_scale_factor": "optimizer=adam",
    "gradient_accumulation_steps": "optimizer=adam trainer.accumulate_grad_batches=4",
}
"""Settings that Steelyard has elsewhere, with the override."""


def translated(serialized: Mapping[str, Any], parameters: Iterable[Parameter]) -> Optimizer:
    """The optimizer of PyTorch that takes the steps of Keras's.

    Args:
        serialized: As `keras.optimizers.serialize` gives it.
        parameters: What it shall train.

    Raises:
        Refused: If PyTorch has none that takes the same steps.
    """
    name, config = str(serialized["class_name"]), dict(serialized["config"])
    if name not in KNOWN or not str(serialized.get("module", "")).startswith("keras"):
        raise refuse(
            f"the model was compiled with the optimizer {name}, which is not translated ({', '.join(KNOWN)} are)",
            fix="optimizer=adam",
        )
    for key, fix in ELSEWHERE.items():
        if config.get(key):
            raise refuse(f"the optimizer of the compiled model sets {key}, which is not its business here", fix=fix)
    if not isinstance(config["learning_rate"], float):
        raise refuse("the compiled model has a schedule of its own, which is not translated", fix="scheduler=cosine")
    rate, decay = config["learning_rate"], float(config["weight_decay"] or 0.0)
    if name == "SGD":
        if decay:
            raise refuse("Keras's SGD decays weights past the momentum, PyTorch's through it", fix="optimizer=sgd")
        return torch.optim.SGD(parameters, lr=rate, momentum=config["momentum"], nesterov=config["nesterov"])
    # Keras decouples the decay in every optimizer, as AdamW does.
    made = torch.optim.AdamW(
        parameters,
        lr=rate,
        betas=(config["beta_1"], config["beta_2"]),
        eps=config["epsilon"],
        weight_decay=decay,
        amsgrad=config["amsgrad"],
    )
    _epsilon_hat(made, config["epsilon"])
    return made


def _epsilon_hat(optimizer: Optimizer, epsilon: float) -> None:
    """Makes PyTorch's Adam add epsilon where Keras adds it: to the root of the moment before its bias is corrected.

    That is "epsilon hat" of Kingma and Ba (2015, end of section 2). Early steps on small gradients differ by it.
    """

    def before(stepping: Optimizer, args: Any, kwargs: Any) -> None:
        del args, kwargs
        for group in stepping.param_groups:
            taken = max((float(stepping.state[weight].get("step", 0.0)) for weight in group["params"]), default=0.0)
            group["eps"] = epsilon / math.sqrt(1 - group["betas"][1] ** (taken + 1))

    optimizer.register_step_pre_hook(before)
