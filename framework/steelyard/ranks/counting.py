"""How many processes a config asks for, and what cannot be spread over them."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from steelyard.narrowing import is_sequence
from steelyard.problem import Problem
from steelyard.selection import Selected

FSDP2 = "fsdp2"
ZERO = {"deepspeed": 2, "deepspeed_stage_1": 1, "deepspeed_stage_2": 2}
"""Lightning's names for DeepSpeed that leaves the whole weights on every rank, each with its stage of ZeRO."""
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", FSDP2, *ZERO)
"""Strategies whose processes Steelyard launches."""
UNSAID = "nobody has said that what it changes stays the same in all of them"


def count(trainer: Mapping[str, Any]) -> int:
    """The number of processes, from `devices`, `accelerator` and `strategy` of the Trainer's arguments; 1 for one."""
    if trainer.get("strategy", "auto") not in STRATEGIES:
        return 1
    devices: Any = trainer.get("devices", "auto")
    if is_sequence(devices):
        return max(1, len(devices))
    if devices in ("auto", None, -1, "-1"):
        return 1 if trainer.get("accelerator") == "cpu" else max(1, _all())
    text = str(devices)
    return max(1, int(text)) if text.isdigit() else max(1, text.count(",") + 1)


def alone(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """What to change in the Trainer's arguments for a single process."""
    if trainer.get("strategy", "auto") not in STRATEGIES:
        return {}
    devices: Any = trainer.get("devices", "auto")
    return {
        "strategy": "auto",
        **({} if count(trainer) == 1 else {"devices": devices[:1] if is_sequence(devices) else 1}),
    }


def problems(selected: Sequence[Selected], trainer: Mapping[str, Any]) -> Iterator[Problem]:
    """Whatever a run over several processes cannot have.

    Args:
        selected: The plugins.
        trainer: Arguments of the Trainer.
    """
    strategy: Any = trainer.get("strategy", "auto")
    if int(trainer.get("num_nodes") or 1) > 1:
        message = "ranks are launched on one machine"
        yield Problem(f"trainer.num_nodes={trainer['num_nodes']}: {message}", "trainer.num_nodes=1", party="ranks")
    if str(strategy).startswith("deepspeed"):
        yield from _zero(str(strategy), trainer)
    elif strategy not in STRATEGIES and not _one(trainer):
        message = f"trainer.strategy={strategy}: Lightning would launch its processes with the words of this one"
        yield Problem(f"{message}, and each would start a run of its own", "trainer.strategy=ddp", party="ranks")
    number = count(trainer)
    if number == 1:
        return
    for choice in selected:
        plugin = choice.plugin
        reason = plugin.alone
        if reason is None:
            reason = UNSAID if plugin.owns | plugin.shares else ""
        if reason:
            message = f"runs in one process, and the trainer asks for {number}: {reason}"
            yield Problem(message, "trainer=default trainer.devices=1", party=choice.key)


def _zero(strategy: str, trainer: Mapping[str, Any]) -> Iterator[Problem]:
    """What DeepSpeed cannot have, by Lightning's rules and by ours."""
    if strategy.startswith("deepspeed_stage_3"):
        message = f"trainer.strategy={strategy}: stage 3 spreads the weights, too, which FSDP2 does here"
        yield Problem(f"{message}, with checkpoints that a run resumes from", "trainer=fsdp2", party="ranks")
    elif strategy not in ZERO:
        message = f"trainer.strategy={strategy}: of DeepSpeed there are {', '.join(ZERO)}"
        yield Problem(message, "trainer.strategy=deepspeed_stage_2", party="ranks")
    elif find_spec("deepspeed") is None:
        message = f"trainer.strategy={strategy}: deepspeed is not installed"
        yield Problem(message, "pip install 'steelyard[deepspeed]'", party="ranks")
    elif _one(trainer):
        message = f"trainer.strategy={strategy}: it spreads over several devices what one would hold"
        yield Problem(message, "trainer.devices=2", party="ranks")
    elif trainer.get("accelerator") == "cpu" or not _all():
        message = f"trainer.strategy={strategy}: Lightning runs DeepSpeed on CUDA GPUs alone, and none is used here"
        yield Problem(message, "trainer.strategy=ddp", party="ranks")


def _one(trainer: Mapping[str, Any]) -> bool:
    return trainer.get("devices", "auto") in (1, "1", [1])


def _all() -> int:
    import torch

    return torch.cuda.device_count()
