"""The package beside this file is tested as its author would: installed, and by its own pytest."""

collect_ignore = ["steelyard_fairness"]
