"""Damage that inputs take in the world, by modality."""

from steelyard_stability.corruptions.plugin import Corruptions

__all__ = ["Corruptions"]
