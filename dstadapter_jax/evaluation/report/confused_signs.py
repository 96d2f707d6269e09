"""Confused signs with the frames of clips, and the accuracy of every sign."""

import dataclasses
from collections.abc import Sequence

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


@dataclasses.dataclass(frozen=True)
class ExampleClip:
    """A clip of a confused sign; all fields but `name` are empty if the split has none.

    Attributes:
        name: The true sign.
        id: Name of the clip.
        signer: Name of the signer, '' if unknown.
        predicted: The predicted sign.
        probability: Its probability.
        indices: Which frames of the video the network saw.
        frames: These frames as base64-encoded JPEG.
        relevance: The same under a heat map.
    """

    name: str
    id: str = ""
    signer: str = ""
    predicted: str = ""
    probability: float = 0.0
    indices: Sequence[int] = ()
    frames: Sequence[str] = ()
    relevance: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class PairOfSigns:
    """Two confused signs.

    Attributes:
        names: The signs.
        counts: Clips of the first predicted as the second, and of the second as the first.
        examples: A clip of each.
    """

    names: tuple[str, str]
    counts: tuple[int, int]
    examples: tuple[ExampleClip, ExampleClip]


@dataclasses.dataclass(frozen=True)
class SignRow:
    """Accuracy of a sign.

    Attributes:
        name: The sign.
        num_correct: Clips that are predicted correctly.
        num_clips: Clips of the sign, missing ones included.
        confused_with: The sign that its clips are most often predicted as, besides itself.
        confusions: Number of these clips.
    """

    name: str
    num_correct: int
    num_clips: int
    confused_with: str
    confusions: int


def confused_signs(
    scores: Scores,
    names: Sequence[str],
    recognizer: Recognizer,
    examples: Sequence[Example],
    views: Views,
) -> list[PairOfSigns]:
    """The most confused pairs of signs, at most `MAX_PAIRS`.

    Args:
        scores: Scores of a split.
        names: Signs by label id.
        recognizer: The model that made the scores.
        examples: Records of the split.
        views: Views that were averaged; the middle one is shown.
    """

    def example(label: int, other: int) -> ExampleClip:
        index = typical_clip(scores, label, other)
        if index is None:
            return ExampleClip(names[label])
        best = int(scores.predictions[index])
        contrast = other if best == label else label
        frames, indices = middle_view(
            examples[index], recognizer.preprocess, recognizer.config["data"]["decoder"], views
        )
        patches = explain(recognizer.model, frames[np.newaxis], [best], [contrast]).patches[0]
        return ExampleClip(
            name=names[label],
            id=str(scores.ids[index]),
            signer=str(scores.signers[index]),
            predicted=names[best],
            probability=float(scores.probabilities[index, best]),
            indices=indices.tolist(),
            frames=jpeg_frames(frames),
            relevance=jpeg_frames(overlay_heatmap(frames, np.asarray(patches))),
        )

    return [
        PairOfSigns((names[a], names[b]), pair.counts, (example(a, b), example(b, a)))
        for pair in confused_pairs(confusion_counts(scores), MAX_PAIRS)
        for a, b in [pair.labels]
    ]


def sign_rows(names: Sequence[str], counts: np.ndarray, labels: np.ndarray) -> list[SignRow]:
    """The accuracy of every sign.

    Args:
        names: Signs by label id.
        counts: Confusion matrix of the scored clips.
        labels: `(clips,)` true ids of all clips that count, missing ones included.
    """
    totals = np.bincount(labels, minlength=len(names)).tolist()
    wrong = counts - np.diag(counts.diagonal())
    confused_with = wrong.argmax(axis=1).tolist()
    return [
        SignRow(name, int(counts[i, i]), totals[i], names[j], int(wrong[i, j]))
        for i, (name, j) in enumerate(zip(names, confused_with, strict=True))
    ]
