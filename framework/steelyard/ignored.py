"""The mark of places that count for nothing."""

IGNORED = -100
"""Marks a place of a target (and of a decision) that counts for nothing, as PyTorch's cross-entropy has it."""
