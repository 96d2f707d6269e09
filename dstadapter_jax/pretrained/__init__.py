"""Pretrained weights: file formats, parameter names, loading, the frozen backbone."""
