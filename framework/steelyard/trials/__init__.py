"""Many runs, read from their folders without torch: trials, groups over seeds, fronts, what plugins cost and say."""

from steelyard.trials.reading import Trial, differing, read_trial, run_folders, setting

__all__ = ["Trial", "differing", "read_trial", "run_folders", "setting"]
