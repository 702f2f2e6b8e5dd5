"""Plain `nn.Module`s, sized by the data."""

from steelyard.models.cnn import CNN
from steelyard.models.encoder_decoder import EncoderDecoder
from steelyard.models.keyword_cnn import KeywordCNN
from steelyard.models.mlp import MLP
from steelyard.models.normalise import Normalise
from steelyard.models.resnet import ResNet
from steelyard.models.rt_detr import RTDETR
from steelyard.models.videomae import VideoMAE

__all__ = [
    "CNN",
    "MLP",
    "RTDETR",
    "EncoderDecoder",
    "KeywordCNN",
    "Normalise",
    "ResNet",
    "VideoMAE",
]
