"""Trackers: what a run and a sweep tell MLflow, TensorBoard, W&B or a CSV file, through Lightning's own loggers."""

from steelyard.tracking.run import begin, check, deliver, loggers
from steelyard.tracking.scores import scores
from steelyard.tracking.sweep import begin_sweep, end_sweep

__all__ = ["begin", "begin_sweep", "check", "deliver", "end_sweep", "loggers", "scores"]
