# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportMissingImports=false, reportUnknownVariableType=false
"""Lightning's DeepSpeed among ranks that are there already, with checkpoints of one file."""

import os
from pathlib import Path
from typing import Any

import deepspeed
from pytorch_lightning.strategies import DeepSpeedStrategy
from typing_extensions import override

from steelyard.problem import refuse


class WholeFiles(DeepSpeedStrategy):
    """DeepSpeed with the whole weights on every rank (ZeRO stages 1 and 2).

    Lightning's class would meet the other ranks by way of a port, and would leave a folder of pickles for every
    checkpoint, which nothing else reads.

    Args:
        stage: 1 spreads the state of the optimizer, 2 the gradients, too.
    """

    def __init__(self, *, stage: int) -> None:
        # The batch size is only used in DeepSpeed's own log of throughput; Lightning would look for it in the loader.
        super().__init__(stage=stage, logging_batch_size_per_gpu=1)

    @override
    def setup_distributed(self) -> None:
        """Tells DeepSpeed of the process group, which stands."""
        self.set_world_ranks()
        # DeepSpeed's engine asks the environment of its process, which is a rank and nothing else.
        os.environ["LOCAL_RANK"] = str(self.local_rank)
        deepspeed.init_distributed(verbose=False, auto_mpi_discovery=False)

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes the weights and all that Lightning knows of the training, but for the state of the optimizer."""
        if self.is_global_zero:
            kept = {name: value for name, value in checkpoint.items() if name != "optimizer_states"}
            self.checkpoint_io.save_checkpoint(kept, filepath, storage_options=storage_options)

    @override
    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Refuses.

        Raises:
            Refused: Always: a training that goes on needs the state of the optimizer, which is in parts.
        """
        reason = "each rank keeps its part of the optimizer's state, and no file has them all"
        raise refuse(f"a training by DeepSpeed cannot go on from {checkpoint_path}: {reason}", fix="trainer=fsdp2")
