"""Steelyard's plugins for the challenge `stability`."""

from steelyard_stability.noise import Noise

__all__ = ["Noise"]
