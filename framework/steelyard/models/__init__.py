"""Plain `nn.Module`s, sized by the data."""

from steelyard.models.cnn import CNN
from steelyard.models.mlp import MLP
from steelyard.models.normalise import Normalise

__all__ = ["CNN", "MLP", "Normalise"]
