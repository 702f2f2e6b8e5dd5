"""What a training would need, known before it starts."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a training would need, from shapes alone.

    Attributes:
        flops: Of one optimizer step (2 per multiply-accumulate), with all that plugins do in it; the mean where steps
            differ.
        modules: FLOPs of that step by module, the parts of the whole.
        memory: Bytes of tensors by kind at the fullest moment of training.
        parameters: Weights in total, those that plugins added included.
        trainable: Those that are trained.
        examples: In one batch.
        precision: Of the training, as the Trainer calls it.
        batches: To one optimizer step.
        uncounted: What is not in these numbers, and why.
        uneven: How batches differ in shape, where they do: memory is that of the largest, operations are the mean.
        assumed: Questions about numbers that nobody knows before training, and how often they were asked.
    """

    flops: int
    modules: Mapping[str, int]
    memory: Mapping[str, int]
    parameters: int
    trainable: int
    examples: int
    precision: str = "32-true"
    batches: int = 1
    uncounted: tuple[str, ...] = ()
    uneven: str = ""
    assumed: tuple[str, ...] = ()

    @property
    def tensor_bytes(self) -> int:
        """The peak."""
        return sum(self.memory.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """An estimate as plugins get it, from `Draft.forecast`.

    Attributes:
        estimate: None where the task cannot be rehearsed.
        steps: Optimizer steps of the whole training; None where its end is open.
        notes: What the estimate leaves out, or why there is none.
    """

    estimate: Estimate | None
    steps: int | None
    notes: tuple[str, ...] = ()
