"""Pictures in which objects are to be found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from steelyard.adapters import _drawing
from steelyard.adapters.adapter import PairAdapter
from steelyard.adapters.image import ImageAdapter, pixels
from steelyard.adapters.scoring import IGNORED, Scoring
from steelyard.detection.boxes import overlap, there

FLOOR = 0.01
"""Overlap that a box has with any other in a score, whose logarithm stays finite by it."""


@final
@dataclass(frozen=True, kw_only=True)
class DetectionScoring(Scoring):
    """Logits and boxes of queries, shape (B, Q, classes + 4), against objects, shape (B, M, 5).

    A decision is the list of boxes that are kept: (B, K, 5) of class, centre, width and height, the surest first,
    filled up by rows of IGNORED. It says nothing of the queries, which may change their places when the picture
    changes: a box is recognised by what it is and where it lies (as in D-RISE; Petsiuk et al. 2021).

    Attributes:
        keep: Certainty from which a box is kept.
    """

    keep: float = 0.5

    def decisions(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The boxes of the queries that are sure enough of a class."""
        del targets
        chances, kinds = outputs[..., :-4].sigmoid().max(dim=-1)
        rows: list[Tensor] = []
        for chance, kind, boxes in zip(chances, kinds, outputs[..., -4:], strict=True):
            order = chance.argsort(descending=True, stable=True)
            order = order[chance[order] >= self.keep]
            rows.append(torch.cat([kind[order, None].to(boxes), boxes[order]], dim=1))
        return pad_sequence(rows, batch_first=True, padding_value=IGNORED)

    def same(self, one: Tensor, other: Tensor) -> Tensor:
        """As many boxes, each with a partner of its class and an overlap of at least 0.5."""
        paired = _pairs(one, other)
        return (paired == _count(one)) & (paired == _count(other))

    def marks(self, decisions: Tensor, targets: Tensor) -> Tensor:
        """F1 of the kept boxes at an overlap of 0.5; 1 where nothing is kept and nothing is there."""
        paired, both = _pairs(decisions, targets).double(), _count(decisions) + _count(targets)
        return torch.where(both == 0, 1.0, 2 * paired / both.clamp(min=1))

    def scores(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The mean over the kept boxes of the best logit of the class, lowered by the logarithm of the overlap.

        For the output that was decided on, and boxes that lie apart, these are the logits of the decided classes. The
        score of keeping nothing is minus the highest logit.
        """
        best = (_logits(outputs, decisions) + _overlaps(outputs, decisions).clamp(min=FLOOR).log()).amax(dim=1)
        return _mean_over(decisions, best, nothing=-outputs[..., :-4].amax(dim=(1, 2)))

    def probabilities(self, outputs: Tensor, decisions: Tensor) -> Tensor:
        """The mean over the kept boxes of the best certainty of the class times overlap.

        The probability of keeping nothing is 1 minus the highest certainty.
        """
        best = (_logits(outputs, decisions).sigmoid() * _overlaps(outputs, decisions)).amax(dim=1)
        return _mean_over(decisions, best, nothing=1 - outputs[..., :-4].amax(dim=(1, 2)).sigmoid())

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Varifocal loss of the classes, L1 and generalised IoU of the boxes; see `steelyard.detection.loss`."""
        # SciPy, which assigns boxes to objects, is not needed to say what the modality is.
        from steelyard.detection.loss import set_losses

        return set_losses(outputs, targets)

    def said(self, decision: Tensor) -> Sequence[int]:
        """The classes of the kept boxes, in order."""
        return _kinds(decision)

    def wanted(self, target: Tensor) -> Sequence[int]:
        """The classes of the objects, in order."""
        return _kinds(target)


@final
@dataclass(frozen=True, kw_only=True)
class DetectionAdapter(PairAdapter):
    """Pixels (B, channels, height, width), as images have them; what is drawn also shows the boxes."""

    modality: ClassVar[str] = "detection"
    unit: ClassVar[str] = ImageAdapter.unit

    def features(self, inputs: Tensor) -> Tensor:
        """The number of the pixel, row by row: shape (channels, height, width)."""
        return pixels(inputs)

    def draw(
        self, batch: Any, attributions: Tensor, *, titles: Sequence[str], decisions: Tensor | None = None
    ) -> bytes:
        """Each picture with the true boxes dashed and the kept ones in full, above its attribution."""
        inputs = self.field(batch, 0)
        return _drawing.images(
            inputs.detach().cpu().double(),
            attributions.detach().cpu().double().sum(dim=1),
            titles=titles,
            bounds=self.bounds,
            frames=_frames(self.targets(batch), decisions),
        )


def _frames(targets: Tensor, decisions: Tensor | None) -> list[list[_drawing.Frame]]:
    """The true and the kept boxes of each picture."""
    found: list[list[_drawing.Frame]] = []
    for number, target in enumerate(targets.cpu()):
        kept = target[:0] if decisions is None else decisions[number].cpu()
        found.append(
            [
                _drawing.Frame(box=(row[1].item(), row[2].item(), row[3].item(), row[4].item()), true=true)
                for true, rows in ((True, target), (False, kept))
                for row in rows[there(rows)]
            ]
        )
    return found


def _kinds(rows: Tensor) -> list[int]:
    return sorted(int(kind) for kind in rows[there(rows)][:, 0])


def _pairs(one: Tensor, other: Tensor) -> Tensor:
    from steelyard.detection._matching import pairs

    return pairs(one, other)


def _count(rows: Tensor) -> Tensor:
    return there(rows).sum(dim=1)


def _logits(outputs: Tensor, decisions: Tensor) -> Tensor:
    """What each query thinks of each kept box's class: (B, Q, K)."""
    kinds = decisions[..., 0].long().clamp(min=0)
    return outputs[..., :-4].gather(2, kinds[:, None].expand(-1, outputs.shape[1], -1))


def _overlaps(outputs: Tensor, decisions: Tensor) -> Tensor:
    """Of each query's box with each kept one: (B, Q, K)."""
    return overlap(outputs[:, :, None, -4:], decisions[:, None, :, 1:])


def _mean_over(decisions: Tensor, values: Tensor, *, nothing: Tensor) -> Tensor:
    kept = there(decisions)
    mean = (values * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
    return torch.where(kept.any(dim=1), mean, nothing)
