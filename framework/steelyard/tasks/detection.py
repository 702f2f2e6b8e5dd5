"""Finding objects in pictures."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn

from steelyard.adapters import DetectionScoring
from steelyard.detection._average_precision import Interval, intervals, ranked
from steelyard.detection._coco import precision
from steelyard.detection.loss import set_losses
from steelyard.extras import require
from steelyard.kinds import Kind
from steelyard.measurement import Artefact, Better, Measurement, Status
from steelyard.optimisation.configured import MakeOptimizer, MakeScheduler
from steelyard.problem import refuse
from steelyard.runs import Run
from steelyard.statistics import mean_interval
from steelyard.tasks.learning import Learning

HOW = "by pycocotools; the interval is a bootstrap over pictures, somewhat narrow where they are few"


@runtime_checkable
class Staged(Protocol):
    """A model that finds better and better boxes, stage by stage, and learns from all of them."""

    def stages(self, pictures: Tensor) -> Tensor:
        """(stages, B, queries, classes + 4); the last is what the model says."""
        ...


@final
class Detection(Learning):
    """Finds objects, on batches (pictures, targets) with targets (B, objects, 5) of class and box, -100 for none.

    Each object is assigned to the query that fits it best; see `steelyard.detection.loss`. The loss is divided by the
    number of objects of the picture itself, and there are no denoising queries, whose number depends on the fullest
    picture of the batch: so the loss of a picture knows nothing of the others.

    Args:
        model: Any module from pictures to logits and boxes (B, queries, classes + 4). Where it has `stages`, the loss
            is the mean over them.
        optimizer: See `Learning`.
        classes: Number of classes.
        scheduler: See `Learning`.
        interval: See `Learning`.
        keep: Certainty from which a box is kept; average precision looks at all of them.
        l1: See `Learning`.

    Raises:
        Refused: If an option is out of range, or pycocotools is missing.
    """

    learns: ClassVar[Mapping[Kind, Kind]] = {Kind.IMAGE_TO_BOXES: Kind.IMAGE_TO_BOXES}

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: MakeOptimizer,
        classes: int,
        scheduler: MakeScheduler | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        keep: float = 0.5,
        l1: float = 0.0,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, scheduler=scheduler, interval=interval, l1=l1)
        if not 0 < keep < 1:
            raise refuse(f"task.keep is {keep:g}, must be between 0 and 1", fix="task.keep=0.5")
        # It would be a pity to notice after training.
        require("pycocotools", extra="vision")
        self.classes = classes
        self.scoring = DetectionScoring(keep=keep)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits and boxes (B, queries, classes + 4)."""
        return self.model(pictures)

    def example_losses(self, batch: Any) -> Tensor:
        """The mean over the stages.

        Raises:
            Refused: If a picture has more objects than the model has queries.
        """
        pictures, targets = batch[0], batch[1]
        stages = self.model.stages(pictures) if isinstance(self.model, Staged) else self.model(pictures)[None]
        if stages.shape[2] < targets.shape[1]:
            raise refuse(
                f"a picture has {targets.shape[1]} objects, and the model finds {stages.shape[2]} at most",
                fix=f"model.queries={targets.shape[1]}",
            )
        return set_losses(stages, targets).mean(dim=0)

    def measure(self, run: Run) -> Iterator[Measurement | Artefact]:
        """Average precision on the test split, as COCO has it, and F1 of what is kept, also on the training split."""
        answers, targets = everything_found(run, "test")
        told = precision(answers, targets, classes=self.classes)
        around = intervals(answers, targets, classes=self.classes, seed=run.seed)
        count = len(targets)
        yield _precision("map50", told.half, around.half, count=count)
        yield _precision("coco_ap", told.whole, around.whole, count=count)
        for number, (value, interval) in enumerate(zip(told.classes, around.classes, strict=True)):
            yield _precision("class_ap", value, interval, count=count, at={"class": run.adapter.told([number])})
        for name, split in (("f1", "test"), ("train_f1", "train")):
            value, interval = mean_interval(run.predict(split).marks, low=0, high=1)
            yield Measurement(
                name=name,
                value=value,
                better=Better.HIGHER,
                interval=interval,
                count=len(run.predict(split).marks),
                split=split,
                note=f"mean over pictures; boxes of certainty {self.scoring.keep:g} and more, overlap 0.5",
                meaning=MEANINGS[name],
            )
        losses = run.predict("test").losses
        yield Measurement(
            name="loss",
            value=float(losses.mean()),
            better=Better.LOWER,
            interval=mean_interval(losses)[1],
            count=len(losses),
            split="test",
            note="of the last stage, without L1; the interval is Student's",
            meaning="how far classes and boxes are from the true ones, on average; 0 is the same boxes, certain",
        )


MEANINGS = {
    "map50": "how many objects are found, and how few boxes are wrong, where half an overlap will do; 1 is perfect",
    "coco_ap": "how many objects are found, and how few boxes are wrong, over ever stricter overlaps up to 0.95",
    "class_ap": "how well the objects of one class are found, over ever stricter overlaps up to 0.95",
    "f1": "how well the boxes that the model keeps agree with the objects of a test picture; 1 is perfect",
    "train_f1": "how well the boxes that the model keeps agree with the objects of a training picture",
}


@torch.no_grad()
def everything_found(run: Run, split: str) -> tuple[Tensor, Tensor]:
    """The surest answers (N, K, 6) and the targets (N, objects, 5) of a split."""
    answers: list[Tensor] = []
    targets: list[Tensor] = []
    for raw in run.loader(split):
        batch = run.to_device(raw)
        answers.append(ranked(run.adapter.outputs(run.task, batch)).cpu())
        targets.append(run.adapter.targets(batch).cpu())
    return torch.cat(answers), torch.cat(targets)


def _precision(
    name: str, value: float, interval: Interval, *, count: int, at: dict[str, str | float] | None = None
) -> Measurement:
    known = math.isfinite(value)
    return Measurement(
        name=name,
        value=value if known else None,
        status=Status.MEASURED if known else Status.SKIPPED,
        better=Better.HIGHER,
        interval=interval if known else None,
        count=count,
        at=at or {},
        split="test",
        note=HOW if known else "the test split has no object of this class",
        meaning=MEANINGS[name],
    )
