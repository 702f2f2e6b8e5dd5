# pyright: reportUnknownMemberType=false
"""Training with others: the process group, Lightning's view of it, and the way back to one plain module."""

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import ClusterEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DeepSpeedStrategy, ModelParallelStrategy
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from typing_extensions import override

from steelyard.draft import Draft
from steelyard.ranks._shares import deal_out
from steelyard.ranks.counting import FSDP2, ZERO
from steelyard.ranks.rank import Rank


class Launched(ClusterEnvironment):
    """Tells Lightning that the ranks are there already.

    Args:
        rank: Which one this is.
    """

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self._rank = rank

    @property
    @override
    def creates_processes_externally(self) -> bool:
        return True

    @property
    @override
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    @override
    def main_port(self) -> int:
        raise RuntimeError("the ranks meet in a file, and take no port")

    @staticmethod
    @override
    def detect() -> bool:
        return False

    @override
    def world_size(self) -> int:
        return self._rank.count

    @override
    def set_world_size(self, size: int) -> None:
        assert size == self._rank.count, (size, self._rank.count)

    @override
    def global_rank(self) -> int:
        return self._rank.number

    @override
    def set_global_rank(self, rank: int) -> None:
        assert rank == self._rank.number, (rank, self._rank.number)

    @override
    def local_rank(self) -> int:
        return self._rank.number

    @override
    def node_rank(self) -> int:
        return 0


def _strategy(name: Any, rank: Rank) -> Any:
    """What the Trainer gets for a strategy of the config."""
    if name == FSDP2:
        return ModelParallelStrategy(
            data_parallel_size=rank.count, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    if name in ZERO:
        from steelyard.ranks._deepspeed import WholeFiles

        return WholeFiles(stage=ZERO[name])
    return "ddp" if name == "auto" else name


def train(trainer: Trainer, draft: Draft, rank: Rank, fit: Callable[[], None]) -> None:
    """Trains with the others, and leaves `draft.task` a plain module with the trained weights on the first rank.

    Args:
        trainer: Of this rank.
        draft: Of this rank; the same on all of them.
        rank: Which one this is.
        fit: Calls `Trainer.fit`.
    """
    sharded = isinstance(trainer.strategy, ModelParallelStrategy)
    changed = sharded or isinstance(trainer.strategy, DeepSpeedStrategy)
    # Sharding changes the classes of layers, and DeepSpeed leaves hooks on weights; measuring wants them as they were.
    plain = copy.deepcopy(draft.task) if changed and rank.first else None
    with _together(rank, trainer.strategy.root_device):
        with _sharding(draft.task) if sharded else nullcontext():
            fit()
        if changed:
            whole = get_model_state_dict(draft.task, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
            if plain is not None:
                plain.configure_model()
                plain.load_state_dict(whole)
                draft.task = plain
        distributed.barrier()


def tester(draft: Draft, place: Path, *, device: torch.device, loggers: list[Logger]) -> Trainer:
    """A Trainer for one process, to test with."""
    kept: dict[str, Any] = {
        name: draft.trainer.get(name) for name in ("precision", "limit_test_batches", "deterministic")
    }
    return Trainer(
        **kept,
        accelerator="cpu" if device.type == "cpu" else "gpu",
        devices=1 if device.type == "cpu" else [device.index],
        logger=loggers or False,
        default_root_dir=place,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


@contextmanager
def _together(rank: Rank, device: torch.device) -> Generator[None]:
    """The process group, before Lightning would make one by way of a port."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=rank.meeting.as_uri(),
        rank=rank.number,
        world_size=rank.count,
        device_id=device if cuda else None,
    )
    yield
    # A rank that fails keeps its connections until it has said why; without them the others would fail before that.
    distributed.destroy_process_group()


@contextmanager
def _sharding(task: LightningModule) -> Generator[None]:
    """Shards the layers when Lightning asks for late ones, which is when the mesh of devices is known."""
    inner = task.configure_model

    def configure_model() -> None:
        inner()
        mesh: Any = task.device_mesh
        assert mesh is not None
        for child in task.children():
            for block in _blocks(child):
                fully_shard(block, mesh=mesh["data_parallel"])
            if any(True for _ in child.parameters()):
                fully_shard(child, mesh=mesh["data_parallel"])

    # No functools.wraps: Lightning looks whether the method is another one.
    task.configure_model = configure_model  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        del task.configure_model


def _blocks(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Layers that repeat: the members of lists and sequences, each gathered only while it computes."""
    lists = [one for one in module.modules() if isinstance(one, torch.nn.ModuleList | torch.nn.Sequential)]
    found = [block for one in lists for block in one if any(True for _ in block.parameters())]
    # From the inside out, as fully_shard wants it.
    return list(dict.fromkeys(reversed(found)))


def join(arguments: dict[str, Any], draft: Draft, rank: Rank) -> Callback:
    """Makes the Trainer's arguments those of a rank, deals the batches out, and gives the callback that it takes."""
    arguments["strategy"] = _strategy(arguments.get("strategy", "auto"), rank)
    arguments["plugins"] = [*arguments["plugins"], Launched(rank)]
    # Every rank looks at the whole validation split, so that all of them decide the same.
    arguments["use_distributed_sampler"] = False
    if not rank.first:
        arguments["enable_progress_bar"] = False
    return deal_out(draft, rank)
