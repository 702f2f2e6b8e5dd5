"""A residual network."""

from collections.abc import Sequence
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor, nn

from steelyard.kinds import Kind
from steelyard.models import _vision
from steelyard.models._pretrained import pretrained as stored
from steelyard.models.dropping import dropout_layers
from steelyard.models.flip import Flip
from steelyard.models.imaging import check_images
from steelyard.models.normalise import Normalise
from steelyard.problem import refuse

Norm = Literal["batch", "group"]
Stem = Literal["auto", "small", "large"]
LARGE = 96
"""Height and width from which the large stem pays."""
NARROW = 8
"""Channels below which oneDNN writes beyond its buffer where they lie last: the weights of a 1 x 1 convolution of
stride 2, on processors without AVX512 (uxlfoundation/oneDNN issue 6035, open in torch 2.13)."""


@final
class ResNet(nn.Module):
    """A ResNet (He et al. 2016) of transformers, from raw pixels to logits.

    Args:
        input_shape: (channels, height, width) of one example.
        classes: Number of logits.
        widths: Channels of each stage; every stage but the first halves height and width.
        depths: Blocks of each stage.
        bottleneck: Blocks of three convolutions instead of two, as from ResNet-50 on.
        norm: `batch` mixes the examples of a batch; `group` looks at one at a time.
        stem: `large` is a 7x7 convolution and a pooling, which quarter the image; `small` a 3x3 convolution; `auto`
            takes the small one below 96 pixels.
        flip: Probability that an image is mirrored in training.
        dropout: Probability that a feature is dropped before the last layer in training.
        mean: Subtracted from the inputs.
        std: The inputs are divided by it.
        pretrained: A folder, `package://NAME/FOLDER` or a name of the hub whose weights are taken (safetensors only),
            all but the last layer; `widths`, `depths`, `bottleneck` and `stem` are then its own.

    Raises:
        Refused: If the options or the weights do not fit the images.
    """

    does = frozenset({Kind.IMAGE_TO_CLASS})

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        widths: Sequence[int] = (16, 32, 64),
        depths: Sequence[int] = (1, 1, 1),
        bottleneck: bool = False,
        norm: Norm = "batch",
        stem: Stem = "auto",
        flip: float = 0.0,
        dropout: float = 0.0,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        check_images("resnet", input_shape)
        _one_of("norm", norm, get_args(Norm))
        _one_of("stem", stem, get_args(Stem))
        if not widths or len(widths) != len(depths) or min(*widths, *depths) < 1:
            raise refuse(
                f"model.widths={[*widths]} and model.depths={[*depths]} must name the same stages",
                fix="model.widths=[16,32,64] model.depths=[1,1,1]",
            )
        if pretrained is not None:
            network: Any = stored(
                pretrained,
                of="AutoModelForImageClassification",
                extra="vision",
                fresh=("classifier.",),
                num_labels=classes,
            )
            _vision.check_kind(network, "resnet", place=pretrained)
            _vision.check_channels(network, input_shape[0], place=pretrained)
        else:
            network = _vision.made(
                "ResNetForImageClassification",
                "ResNetConfig",
                num_channels=input_shape[0],
                embedding_size=widths[0],
                hidden_sizes=[*widths],
                depths=[*depths],
                layer_type="bottleneck" if bottleneck else "basic",
                num_labels=classes,
            )
            if stem == "small" or (stem == "auto" and min(input_shape[1:]) < LARGE):
                _shrink(network.resnet.embedder, input_shape[0], widths[0])
        if norm == "group":
            _vision.group_normed(network)
        self.normalise = Normalise(input_shape, mean=mean, std=std)
        self.flip = Flip(flip)
        self.body: Any = network.resnet
        if min(network.config.hidden_sizes) >= NARROW:
            # With the channels last in memory a step on the CPU takes a fifth less.
            self.body = self.body.to(memory_format=torch.channels_last)
        self.head = nn.Sequential(
            nn.Flatten(), *dropout_layers(dropout), nn.Linear(network.config.hidden_sizes[-1], classes)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.head(self.body(self.normalise(self.flip(inputs))).pooler_output)


def _shrink(embedder: Any, channels: int, width: int) -> None:
    """A stem for small images, initialised as the large one is."""
    embedder.embedder.convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    if not embedder.embedder.convolution.weight.is_meta:
        nn.init.kaiming_normal_(embedder.embedder.convolution.weight, mode="fan_out", nonlinearity="relu")
    embedder.pooler = nn.Identity()


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise refuse(f"model.{name} is {value!r}, must be one of {', '.join(known)}", fix=f"model.{name}={known[0]}")
