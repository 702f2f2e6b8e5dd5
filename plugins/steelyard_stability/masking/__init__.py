"""Is it the model that withstands an attack, or its gradient that hides? Tests of the attack itself."""

from steelyard_stability.masking.battery import battery
from steelyard_stability.masking.check import Check

__all__ = ["Check", "battery"]
