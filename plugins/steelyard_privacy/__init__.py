"""Steelyard's plugins for the challenge `privacy`."""
