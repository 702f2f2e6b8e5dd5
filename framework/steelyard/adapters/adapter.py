"""Adapters: how the challenges look at a batch and at an output, whatever the modality."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, final, runtime_checkable

from pytorch_lightning import LightningModule
from torch import Tensor

from steelyard.adapters.asking import Asking
from steelyard.adapters.labels_scoring import LabelsScoring
from steelyard.adapters.scoring import ClassScoring, Scoring
from steelyard.adapters.value_scoring import ValueScoring
from steelyard.narrowing import is_mapping
from steelyard.problem import refuse


@dataclass(frozen=True, kw_only=True)
class Adapter(Asking, ABC):
    """One small class per modality: the input side, and by `scoring` the output side.

    What it changes it gives back as something new: a batch belongs to the data module.

    Attributes:
        scoring: The output side.
        bounds: The smallest and largest raw value, e.g. (0, 1) for pixels; None where the data has no natural range.
        names: What the classes are called; empty where they go by their numbers.
        decode: Token numbers to text, where decisions are texts.
    """

    modality: ClassVar[str]
    unit: ClassVar[str]
    """The unit of the raw values, e.g. "pixel value in [0, 1]"; noise levels and radii are given in it."""

    scoring: Scoring
    bounds: tuple[float, float] | None
    names: tuple[str, ...] = ()
    decode: Callable[[Sequence[int]], str] | None = None

    @abstractmethod
    def inputs(self, task: LightningModule, batch: Any) -> Tensor:
        """The continuous view of a batch on the task's device: a float tensor (B, ...), in raw units.

        For text these are the embeddings of the tokens, so that gradients exist.
        """

    @abstractmethod
    def replace(self, batch: Any, inputs: Tensor) -> Any:
        """The same batch with this continuous view in place of its own."""

    @abstractmethod
    def take(self, batch: Any, rows: Tensor) -> Any:
        """The examples with these numbers, in this order; a number may come several times."""

    @abstractmethod
    def outputs(self, task: LightningModule, batch: Any) -> Any:
        """The task's raw output, e.g. logits (B, C), for a batch or for one that `replace` made.

        Raises:
            Refused: If it is not known how to ask the task, or what of its answer is the output.
        """

    @final
    def answer(self, task: LightningModule, batch: Any, *inputs: Any) -> Any:
        """What the task gives for a batch by `method`; its `forward` gets `inputs`, or the batch."""
        plain = isinstance(self.scoring, ClassScoring | LabelsScoring | ValueScoring)
        return self.ask(task, batch, *inputs, plain=plain)

    @abstractmethod
    def targets(self, batch: Any) -> Tensor:
        """What the data says is right: integers, shape (B,) or (B, ...)."""

    @abstractmethod
    def size(self, batch: Any) -> int:
        """The number of examples."""

    @final
    def clip(self, inputs: Tensor) -> Tensor:
        """Inputs pushed back into the raw range."""
        return inputs if self.bounds is None else inputs.clamp(*self.bounds)

    @abstractmethod
    def present(self, batch: Any) -> Tensor | None:
        """Which places of the continuous view are no padding: booleans (B, L) for a view (B, L, ...); None for all."""

    @abstractmethod
    def features(self, inputs: Tensor) -> Tensor:
        """The unit of attribution that each element belongs to: integers 0 to K-1, shaped as one example.

        A pixel of an image is one unit across its channels; a column of a table is one unit.
        """

    @abstractmethod
    def draw(
        self, batch: Any, attributions: Tensor, *, titles: Sequence[str], decisions: Tensor | None = None
    ) -> bytes:
        """A PNG of every example with its attribution, all on one signed scale.

        An attribution that is zero everywhere or not finite is grey.

        Args:
            batch: N examples.
            attributions: (N, ...), shaped as their continuous view.
            titles: N captions.
            decisions: N rows of `Scoring.decisions`, for a modality that can show where they lie.
        """

    @final
    def told(self, numbers: Sequence[int]) -> str:
        """Integers as `Scoring.said` or `Scoring.wanted` gives them, in the words of the data; none are "nothing"."""
        if not numbers:
            return "nothing"
        if isinstance(self.scoring, ValueScoring):
            return self.scoring.told(numbers)
        # Data that can spell its texts may still ask for one of several classes.
        if self.decode is not None and not isinstance(self.scoring, ClassScoring | LabelsScoring):
            return self.decode(numbers)
        known = range(len(self.names))
        return ", ".join(self.names[number] if number in known else str(number) for number in numbers)


@runtime_checkable
class Retelling(Protocol):
    """The discrete view, which an adapter of texts has beside the continuous one: what can be edited."""

    def texts(self, split: str) -> Sequence[str]:
        """The texts of a split as they were read, in the order of its unshuffled loader.

        Raises:
            Refused: If nobody kept them.
        """
        ...

    def retold(self, batch: Any, texts: Sequence[str]) -> Any:
        """The same batch with other texts, one for each example; the targets stay.

        Raises:
            Refused: If a text cannot become a batch, or has other targets then.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PairAdapter(Adapter):
    """The input side of modalities whose examples all have one shape.

    A batch is a sequence (inputs, targets, ...) or a mapping with the keys of `fields`, and the task's
    `forward` takes the inputs.

    Attributes:
        fields: Keys of inputs and targets in a batch that is a mapping.
    """

    fields: tuple[str, str] = ("inputs", "targets")

    @final
    def inputs(self, task: LightningModule, batch: Any) -> Tensor:
        """The inputs as they are."""
        del task
        return self.field(batch, 0)

    @final
    def replace(self, batch: Any, inputs: Tensor) -> Any:
        """The same batch with other inputs."""
        if is_mapping(batch):
            return {**batch, self.fields[0]: inputs}
        return (inputs, *batch[1:])

    @final
    def take(self, batch: Any, rows: Tensor) -> Any:
        """The chosen rows of everything that has a row per example."""
        return rows_of(batch, rows, self.size(batch))

    @final
    def outputs(self, task: LightningModule, batch: Any) -> Any:
        """What the task's `forward` gives for the inputs, and for the targets where it wants to be told them."""
        told = (self.field(batch, 1),) if self.scoring.forced else ()
        return self.answer(task, batch, self.field(batch, 0), *told)

    @final
    def targets(self, batch: Any) -> Tensor:
        """The targets as they are, or what the scoring makes of the inputs."""
        return self.scoring.truth(self.field(batch, 0), self.field(batch, 1))

    @final
    def size(self, batch: Any) -> int:
        """The number of examples; a scoring that works the truth out of them is not asked."""
        return len(self.field(batch, 1))

    @final
    def present(self, batch: Any) -> Tensor | None:
        """All places: the examples have one shape."""
        del batch

    @final
    def field(self, batch: Any, place: int) -> Tensor:
        """Inputs (0) or targets (1) of a batch.

        Raises:
            Refused: If the batch is a mapping with other keys.
        """
        if not is_mapping(batch):
            return batch[place]
        if self.fields[place] not in batch:
            keys = [str(key) for key in batch]
            raise refuse(
                f"a batch has the keys {', '.join(keys)}, and which are inputs and targets is not said",
                fix=f"+task.adapter.fields=[{','.join(keys[:2])}]",
            )
        return batch[self.fields[place]]


def rows_of(batch: Any, rows: Tensor, count: int) -> Any:
    """The chosen rows of every tensor of a mapping or sequence that has one for each of `count` examples."""
    if is_mapping(batch):
        return {key: _rows(value, rows, count) for key, value in batch.items()}
    return tuple(_rows(value, rows, count) for value in batch)


def _rows(value: Any, rows: Tensor, count: int) -> Any:
    return value[rows] if isinstance(value, Tensor) and value.dim() and len(value) == count else value
