"""Trained models applied to clips: loading, ranking labels, attribution."""
