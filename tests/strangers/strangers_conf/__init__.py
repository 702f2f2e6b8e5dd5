"""Presets of the strangers."""
