"""Evaluation: scores, metrics with intervals, calibration, comparison of runs, reports."""
