"""The most probable labels of a clip."""

from typing import Any

import numpy as np

from dstadapter_jax.data.clips import Clip, read_clip_file
from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer

NUM_LABELS = 5


def read_clip(recognizer: Recognizer, video: str) -> Clip:
    """Read and preprocess a video file for a recognizer; raises ClipError if that fails."""
    decoder = recognizer.config["data"]["decoder"]
    return read_clip_file(video, recognizer.preprocess, decoder)


def predict(recognizer: Recognizer, video: str) -> list[dict[str, Any]]:
    """The five most probable labels of a video file, best first.

    Raises:
        ClipError: The file can't be read.
        NonFiniteOutputError: The model's probabilities are not finite.
    """
    return rank_labels(recognizer, read_clip(recognizer, video))


def rank_labels(recognizer: Recognizer, clip: Clip) -> list[dict[str, Any]]:
    """The five most probable labels of a clip, best first; may raise NonFiniteOutputError."""
    scores = np.average(recognizer.probabilities(clip.views), axis=0, weights=clip.counts)
    if not np.isfinite(scores).all():
        raise NonFiniteOutputError
    return [
        {"label": recognizer.label_names[i], "id": int(i), "probability": float(scores[i])}
        for i in np.argsort(-scores, kind="stable")[:NUM_LABELS]
    ]
