"""Heatmaps over frames."""

import cv2
import matplotlib
import numpy as np

HEAT = matplotlib.colormaps["inferno"]  # lightness follows the value, so it works in gray


def overlay_heatmap(view: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Gray frames, colored by the relevance of their patches on one scale.

    Args:
        view: `(T, R, R, 3)` uint8.
        patches: `(T, h, w)` relevances, not negative; the largest is brightest.

    Returns:
        `(T, R, R, 3)` uint8.
    """
    size = view.shape[1:3]
    smooth = [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in patches]
    return blend(view.mean(axis=-1), np.clip(np.stack(smooth) / patches.max(), 0, 1))


def blend(gray: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Gray values from 0 to 255, `(...)`, under heat from 0 to 1: `(..., 3)` uint8."""
    opacity = (0.25 + 0.6 * share)[..., None]
    mixed = (1 - opacity) * gray[..., None] + opacity * 255 * HEAT(share)[..., :3]
    return mixed.round().astype(np.uint8)
