"""Classification of anything by any model that gives logits."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from steelyard.kinds import TO_CLASS, Kind
from steelyard.measurement import EXAMPLES, TARGET, Artefact, Better, Measurement, Status, Table
from steelyard.narrowing import is_mapping
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import check_least, refuse
from steelyard.runs import Predictions, Run
from steelyard.statistics import mean_interval, proportion
from steelyard.tasks.f1 import confusion, macro_f1, macro_f1_interval
from steelyard.tasks.learning import Judged, Learning, check_smoothing

LABELS = "labels"
"""The key of the classes in a batch that is a mapping."""


@final
class Classification(Learning):
    """Cross-entropy on batches (inputs, targets); logs loss and accuracy once an epoch.

    A batch may also be a mapping with the classes as `labels`: the model takes all of it.

    Args:
        model: Any module from inputs (B, ...), or from the mapping, to logits (B, classes).
        optimizer: See `Learning`.
        classes: Number of classes.
        scheduler: See `Learning`.
        interval: See `Learning`.
        label_smoothing: Part of the target's probability that is spread over all classes.
        mixup: Both parameters of the Beta distribution by which pairs of examples are mixed in training; 0 for none.
            A method that looks at one example at a time sees each mixed with itself, that is not at all.
        l1: See `Learning`.

    Raises:
        Refused: If an option is out of range.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {kind: kind for kind in TO_CLASS}

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        classes: int,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, scheduler=scheduler, interval=interval, l1=l1)
        check_least("task.mixup", mixup, 0, fix=0.2)
        self.classes = classes
        self.label_smoothing = check_smoothing(label_smoothing)
        self.mixup = mixup

    def forward(self, inputs: Any) -> Tensor:
        """Logits (B, classes)."""
        return self.model(inputs)

    def example_losses(self, batch: Any) -> Tensor:
        """Plain cross-entropy."""
        return self.judge(batch, learning=False).losses

    def judge(self, batch: Any, *, learning: bool) -> Judged:
        """Cross-entropy, while learning with smoothed labels and mixed examples, and whether each decision is right.

        Raises:
            Refused: If what cannot be mixed shall be mixed.
        """
        inputs, targets = (batch, batch[LABELS]) if is_mapping(batch) else (batch[0], batch[1])
        smoothing = self.label_smoothing if learning else 0.0
        if learning and self.mixup:
            logits, losses = self._mixed(inputs, targets)
        else:
            logits = self(inputs)
            losses = cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        return Judged(losses=losses, marks=(logits.argmax(dim=1) == targets).float())

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Accuracy, F1 and loss on the test split, also by example, and the accuracy on the training split."""
        for name, split, of in (("accuracy", "test", "test"), ("train_accuracy", "train", "training")):
            predictions = run.predict(split)
            right = int(predictions.marks.sum())
            yield proportion(
                name,
                right,
                len(predictions.marks),
                better=Better.HIGHER,
                split=split,
                meaning=f"share of the {of} examples that the model decides right",
            )
        yield self._f1(run)
        losses = run.predict("test").losses
        wrong = int((~losses.isfinite()).sum())
        if wrong:
            note = f"{wrong} of {len(losses)} test examples have a loss that is not finite: look at their inputs"
            yield Measurement(name="loss", status=Status.FAILED, unit="nats", split="test", note=note)
            return
        yield Measurement(
            name="loss",
            value=float(losses.mean()),
            better=Better.LOWER,
            unit="nats",
            interval=mean_interval(losses)[1],
            count=len(losses),
            split="test",
            note="cross-entropy without smoothing and L1; the interval is Student's",
            meaning="how little the model believed in the right answer, on average; 0 is certain and always right",
        )
        yield _examples(run.predict("test"))

    def _f1(self, run: Run) -> Measurement:
        predictions = run.predict("test")
        found = confusion(predictions.decisions, predictions.targets, classes=self.classes)
        return Measurement(
            name="macro_f1",
            value=float(macro_f1(found)),
            better=Better.HIGHER,
            interval=macro_f1_interval(found),
            count=len(predictions.targets),
            split="test",
            note="mean over the classes that occur; bootstrap over the examples",
            meaning="how well the classes of the test examples are found, a rare one counting as much as a common one",
        )

    def _mixed(self, inputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and losses of convex combinations of pairs (Zhang et al. 2018)."""
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            raise refuse("task.mixup mixes inputs that are numbers, and these are tokens", fix="task.mixup=0")
        concentration = torch.full((len(inputs),), self.mixup, device=inputs.device)
        share = torch.distributions.Beta(concentration, concentration).sample()
        partner = torch.randperm(len(inputs), device=inputs.device)
        weight = share.reshape(-1, *[1] * (inputs.dim() - 1))
        logits = self(weight * inputs + (1 - weight) * inputs[partner])
        own, other = (
            cross_entropy(logits, wanted, label_smoothing=self.label_smoothing, reduction="none")
            for wanted in (targets, targets[partner])
        )
        return logits, share * own + (1 - share) * other


def _examples(predictions: Predictions) -> Table:
    """What two runs on the same split are held against each other by."""
    columns = (predictions.targets, predictions.marks.int(), predictions.losses)
    lists = [cast("list[float]", column.tolist()) for column in columns]  # pyright: ignore[reportUnknownMemberType]
    return Table(
        name=EXAMPLES,
        title="the test examples one by one",
        columns=(TARGET, "accuracy", "loss"),
        rows=list(zip(*lists, strict=True)),
        split="test",
        shown=False,
    )
