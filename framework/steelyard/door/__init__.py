"""The LightningCLI door: the keys and classes of a run under the names that LightningCLI gives them."""

from steelyard.door.translating import to_lightning, to_run

__all__ = ["to_lightning", "to_run"]
