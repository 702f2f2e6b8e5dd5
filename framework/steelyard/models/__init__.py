"""Plain `nn.Module`s, sized by the data."""

from steelyard.models.mlp import MLP
from steelyard.models.normalise import Normalise

__all__ = ["MLP", "Normalise"]
