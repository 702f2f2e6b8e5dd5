"""A transformer that finds objects."""

from collections.abc import Sequence
from typing import Any, Literal, final, get_args

from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models import _rt_detr, _vision
from steelyard.models.imaging import check_images
from steelyard.models.normalise import Normalise
from steelyard.problem import refuse

Norm = Literal["group", "batch", "frozen"]
GROUP = "model.norm=group"


@final
class RTDETR(nn.Module):
    """An RT-DETR (Zhao et al. 2024) of transformers, from raw pixels to boxes; small by default.

    The finest of its maps of features has the stride 8. What comes out is one row for each query: the logits of the
    classes, and a box (centre x, centre y, width, height) in parts of the picture.

    Args:
        input_shape: (channels, height, width) of one example; the stride of the last stage divides height and width.
        classes: Number of logits.
        widths: Channels of the backbone's stages, whose strides are 4, 8, 16 and so on.
        depths: Blocks of each stage.
        width: Of the states; a multiple of 4.
        layers: Of the decoder.
        heads: Of the attention; divides `width`.
        queries: Proposals that go into the decoder; at least as many as a picture may have objects.
        norm: `group` looks at one example at a time; `batch` mixes the examples of a batch; `frozen` keeps the
            statistics of `pretrained`.
        pretrained: A folder or a name of the hub whose weights are taken; `widths`, `depths`, `width`, `layers`,
            `heads` and `queries` are then its own. The last layers begin anew where its classes are not as many.
        mean: Subtracted from the inputs.
        std: The inputs are divided by it.
    """

    does = frozenset({Kind.IMAGE_TO_BOXES})

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        widths: Sequence[int] = (16, 32, 64, 64),
        depths: Sequence[int] = (1, 1, 1, 1),
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        queries: int = 30,
        norm: Norm = "group",
        pretrained: str | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        check_images("rt_detr", input_shape)
        if norm not in get_args(Norm):
            raise refuse(f"model.norm is {norm!r}, must be one of {', '.join(get_args(Norm))}", fix=GROUP)
        if norm == "frozen" and pretrained is None:
            raise refuse("model.norm=frozen keeps statistics, and without model.pretrained there are none", fix=GROUP)
        self.normalise = Normalise(input_shape, mean=mean, std=std)
        if pretrained is None:
            _check(widths, depths, width=width, heads=heads)
            self.network: Any = _vision.detector(
                channels=input_shape[0],
                classes=classes,
                widths=widths,
                depths=depths,
                width=width,
                layers=layers,
                heads=heads,
                queries=queries,
            )
        else:
            self.network = _vision.stored_detector(pretrained, channels=input_shape[0], classes=classes)
        stride = self.network.config.feat_strides[-1]
        if input_shape[1] % stride or input_shape[2] % stride:
            raise refuse(
                f"{input_shape[1]}x{input_shape[2]} pixels cannot be cut into pieces of {stride}x{stride} pixels",
                fix="model.widths=[16,32,64] model.depths=[1,1,1]",
            )
        if norm == "group":
            _vision.group_normed(self.network)
        elif norm == "frozen":
            _vision.frozen_normed(self.network)

    def forward(self, pictures: Tensor) -> Tensor:
        """What is found: logits and boxes (B, queries, classes + 4)."""
        return self.stages(pictures)[-1]

    def stages(self, pictures: Tensor) -> Tensor:
        """The same of the proposals and of every layer of the decoder, from which a loss may learn as well.

        In training the gradient does not flow from one stage to the next; in evaluation it is whole.

        Returns:
            (layers + 1, B, queries, classes + 4).
        """
        return _rt_detr.stages(self.network, self.normalise(pictures), cut=self.training)


def _check(widths: Sequence[int], depths: Sequence[int], *, width: int, heads: int) -> None:
    if len(widths) != len(depths) or len(widths) < 2 or min(*widths, *depths) < 1:
        raise refuse(
            f"model.widths={[*widths]} and model.depths={[*depths]} must name the same stages, two at least",
            fix="model.widths=[16,32,64,64] model.depths=[1,1,1,1]",
        )
    if width % 4 or width % heads:
        raise refuse(
            f"model.width={width} must be a multiple of 4 and of model.heads={heads}",
            fix="model.width=64 model.heads=4",
        )
