"""Confused signs with the frames of clips, and the accuracy of every sign."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dstadapter_jax.data.clip_dataset import Example
from dstadapter_jax.data.views import Views
from dstadapter_jax.evaluation.confusions import confused_pairs, confusion_counts, typical_clip
from dstadapter_jax.evaluation.scores import Scores
from dstadapter_jax.inference.attribution import explain
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.visualization.film_strips import jpeg_frames, middle_view
from dstadapter_jax.visualization.heatmap import overlay_heatmap

MAX_PAIRS = 6


def confused_signs(
    scores: Scores,
    names: Sequence[str],
    recognizer: Recognizer,
    examples: Sequence[Example],
    views: Views,
) -> list[dict[str, Any]]:
    """The most confused pairs of signs, at most `MAX_PAIRS`, for the page's template.

    Args:
        scores: Scores of a split.
        names: Signs by label id.
        recognizer: The model that made the scores.
        examples: Records of the split.
        views: Views that were averaged; the middle one is shown.
    """

    def example(label: int, other: int) -> dict[str, Any]:
        index = typical_clip(scores, label, other)
        if index is None:
            return {"name": names[label], "id": ""}
        best = int(scores.predictions[index])
        contrast = other if best == label else label
        frames, indices = middle_view(
            examples[index], recognizer.preprocess, recognizer.config["data"]["decoder"], views
        )
        patches = explain(recognizer.model, frames[np.newaxis], [best], [contrast]).patches[0]
        return {
            "name": names[label],
            "id": str(scores.ids[index]),
            "signer": str(scores.signers[index]),
            "predicted": names[best],
            "probability": float(scores.probabilities[index, best]),
            "indices": indices.tolist(),
            "frames": jpeg_frames(frames),
            "relevance": jpeg_frames(overlay_heatmap(frames, np.asarray(patches))),
        }

    return [
        {
            "names": (names[a], names[b]),
            "counts": pair.counts,
            "examples": (example(a, b), example(b, a)),
        }
        for pair in confused_pairs(confusion_counts(scores), MAX_PAIRS)
        for a, b in [pair.labels]
    ]


def sign_rows(names: Sequence[str], counts: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """The accuracy of every sign, and the sign that its clips are most often predicted as.

    Args:
        names: Signs by label id.
        counts: Confusion matrix of the scored clips.
        labels: `(clips,)` true ids of all clips that count, missing ones included.
    """
    totals = np.bincount(labels, minlength=len(names)).tolist()
    wrong = counts - np.diag(counts.diagonal())
    confused_with = wrong.argmax(axis=1).tolist()
    return [
        {
            "name": name,
            "num_correct": int(counts[i, i]),
            "num_clips": totals[i],
            "confused_with": names[j],
            "confusions": int(wrong[i, j]),
        }
        for i, (name, j) in enumerate(zip(names, confused_with, strict=True))
    ]
