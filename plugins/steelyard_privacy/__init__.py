"""Steelyard's plugins for the challenge `privacy`."""

from steelyard_privacy.canaries import Canaries
from steelyard_privacy.dp_sgd import DPSGD
from steelyard_privacy.group_norm import GroupNormalisation
from steelyard_privacy.membership import Membership
from steelyard_privacy.shadow import Shadow

__all__ = ["DPSGD", "Canaries", "GroupNormalisation", "Membership", "Shadow"]
