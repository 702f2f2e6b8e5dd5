"""What a training would need, known before it starts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steelyard.devices import workspaces
from steelyard.estimating._shapes import Shape, total

ONCE = 160 * 1024
"""Bytes of what else a process sets up once; 0 to 0.3 MiB beside nine tiny models of as many kinds of layers, under the
lean settings, where nothing else is unknown."""
PAGES, MOST_PAGES = 16 * 2**20, 24 * 2**20
"""Bytes of files of libraries that a first step reads, 8 to 23 MiB on twelve models, and what is left for them. The
kernel may take them back at any time, and training needs no memory for them."""
SAFE_GPU = 1.15
"""For the holes of torch's allocator on a GPU, and for kernels that take room of their own."""
SAFE, SAFE_LEAN = 1.3, 1.03
"""Over the largest growth that was replayed, the real one was up to 1.21 of it, and 1.35 in a private CNN of 28 MiB,
for which what is left for pages of files is enough; and under the lean settings."""


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
        steps: Of the whole training, as its plugins limit it and load its batches; None where its end is open.
        uncounted: What is not in these numbers, and why.
        uneven: How batches differ in shape, where they do: memory is that of the largest, operations are the mean.
        assumed: Questions about numbers that nobody knows before training, and how often they were asked.
        most: FLOPs of the dearest step that was looked at; 0 where nobody has looked.
        work: FLOPs of steps with batches of some shapes, where batches differ.
        held: Bytes by which a process on the CPU grows, the holes of its allocator and the weights included, more
            being as likely as less; 0 where nobody has looked.
        held_most: The same where chance is against it.
        held_lean: The same with an allocator that gives back what is freed (`_heap.LEAN`), or with the settings of this
            process's environment, if it has any.
        gpu: Whether the training will run on a GPU of this machine.
        on_gpu: What `memory` is on a GPU, in the blocks of torch's allocator and without what kernels of the CPU take
            in passing.
    """

    flops: int
    modules: Mapping[str, int]
    memory: Mapping[str, int]
    parameters: int
    trainable: int
    examples: int
    precision: str = "32-true"
    batches: int = 1
    steps: int | None = None
    uncounted: tuple[str, ...] = ()
    uneven: str = ""
    assumed: tuple[str, ...] = ()
    most: int = 0
    work: Mapping[Shape, float] = field(default_factory=dict[Shape, float])
    held: int = 0
    held_most: int = 0
    held_lean: int = 0
    gpu: bool = False
    on_gpu: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def tensor_bytes(self) -> int:
        """The peak."""
        return sum(self.memory.values())

    def gpu_bytes(self, major: int | None = None) -> int:
        """The peak of what torch's allocator gives out on a GPU.

        Args:
            major: Of its compute capability.
        """
        return (sum(self.on_gpu.values()) or self.tensor_bytes) + workspaces(major)

    def share(self, shapes: Sequence[Shape]) -> float:
        """The work of a step like these over that of the mean step; 1 where all steps are alike.

        Args:
            shapes: Of batches, at least one.
        """
        if not self.work or not self.flops:
            return 1.0
        return total(self.work, Counter(shapes)).value / len(shapes) / self.flops

    @property
    def process_bytes(self) -> int:
        """By which a process on the CPU grows, pages of the files of libraries not counted; or what a GPU gives out."""
        if self.gpu:
            return self.gpu_bytes()
        return self.held + ONCE if self.held else self.tensor_bytes

    @property
    def safe_bytes(self) -> int:
        """That a process on the CPU, or a GPU, should be left, so that it fits whatever its heap comes to."""
        if self.gpu:
            return int(SAFE_GPU * self.gpu_bytes())
        return int(SAFE * max(self.held_most + PAGES if self.held_most else 0, self.process_bytes, self.tensor_bytes))

    @property
    def lean_bytes(self) -> int:
        """The same with an allocator that gives back what is freed; 0 where nobody has looked, and on a GPU."""
        if self.gpu or not self.held_lean:
            return 0
        return int(SAFE_LEAN * max(self.held_lean, self.tensor_bytes)) + MOST_PAGES


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
