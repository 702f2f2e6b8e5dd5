"""Steelyard's plugins for the challenge `interpretability`."""

from steelyard_interpretability.attribution import Attribution

__all__ = ["Attribution"]
