"""Steelyard's plugins for the challenge `compute`."""

from steelyard_compute.cost import Cost

__all__ = ["Cost"]
