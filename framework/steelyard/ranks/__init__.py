"""Ranks: several processes that train one model together, launched by Steelyard from the config as it is resolved."""

from steelyard.ranks.counting import alone, count, problems
from steelyard.ranks.party import Lost
from steelyard.ranks.rank import DealtOut, Rank, remark
from steelyard.ranks.spread import Facts, Spread

__all__ = ["DealtOut", "Facts", "Lost", "Rank", "Spread", "alone", "count", "problems", "remark"]
