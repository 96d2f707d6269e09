"""Normalization of views, the last step before the model; compiled with it."""

from typing import Any

import numpy as np

# CLIP's, rounded as the reference has them; RGB, 0-255 scale.
IMAGE_MEAN = np.array([122.769, 116.74, 104.04], np.float32)
IMAGE_STD = np.array([68.493, 66.63, 70.321], np.float32)


def normalize(clips: Any) -> Any:
    """Normalizes RGB values of 0-255 by CLIP's mean and standard deviation.

    Args:
        clips: `(..., 3)` NumPy or JAX array, uint8 or floating point; may be traced by `jax.jit`.

    Returns:
        The same kind of array, float32.

    Raises:
        ValueError: the last axis isn't RGB.
    """
    if clips.ndim == 0 or clips.shape[-1] != 3:
        raise ValueError(f"expected clips of shape (..., 3), RGB last, found {clips.shape}")
    return (clips.astype(np.float32) - IMAGE_MEAN) / IMAGE_STD
