"""Steelyard's plugins for the challenge `stability`."""
