"""Dropout layers, or none."""

from torch import nn

from steelyard.problem import refuse


def dropout_layers(probability: float) -> list[nn.Module]:
    """One dropout layer, or no layer at all for probability 0.

    Raises:
        Refused: If it is no probability below 1.
    """
    if not 0 <= probability < 1:
        raise refuse(f"model.dropout is {probability:g}, must be in [0, 1)", fix="model.dropout=0.1")
    return [nn.Dropout(probability)] if probability else []
