"""Steelyard's plugins for the challenge `compute`."""
