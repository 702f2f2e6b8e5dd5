"""Is the model equally right for everybody?"""

from steelyard_fairness.parity import Parity

__all__ = ["Parity"]
