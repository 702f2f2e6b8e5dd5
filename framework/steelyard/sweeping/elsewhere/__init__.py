"""Trials in processes that somebody else starts: joblib, submitit (local or SLURM), ray."""

from steelyard.sweeping.elsewhere.choosing import hands_of

__all__ = ["hands_of"]
