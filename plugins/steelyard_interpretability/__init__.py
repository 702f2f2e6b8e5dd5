"""Steelyard's plugins for the challenge `interpretability`."""
