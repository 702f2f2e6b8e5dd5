"""Sweeps: trials in processes of their own, watched, recorded and taken up again."""
