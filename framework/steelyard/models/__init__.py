"""Plain `nn.Module`s, sized by the data."""

from steelyard.models.bert import Bert
from steelyard.models.causal import Causal
from steelyard.models.cnn import CNN
from steelyard.models.encoder_decoder import EncoderDecoder
from steelyard.models.keras_model import KerasModel
from steelyard.models.keyword_cnn import KeywordCNN, SoundEmbedding
from steelyard.models.mlp import MLP
from steelyard.models.normalise import Normalise
from steelyard.models.resnet import ResNet
from steelyard.models.rt_detr import RTDETR
from steelyard.models.scattering import Scattering
from steelyard.models.speech_cnn import SpeechCNN
from steelyard.models.speech_t5 import SpeechT5
from steelyard.models.tanh_cnn import TanhCNN
from steelyard.models.videomae import VideoMAE
from steelyard.models.wav2vec2 import Wav2Vec2
from steelyard.models.wavenet import WaveNet
from steelyard.models.whisper import Whisper

__all__ = [
    "CNN",
    "MLP",
    "RTDETR",
    "Bert",
    "Causal",
    "EncoderDecoder",
    "KerasModel",
    "KeywordCNN",
    "Normalise",
    "ResNet",
    "Scattering",
    "SoundEmbedding",
    "SpeechCNN",
    "SpeechT5",
    "TanhCNN",
    "VideoMAE",
    "Wav2Vec2",
    "WaveNet",
    "Whisper",
]
