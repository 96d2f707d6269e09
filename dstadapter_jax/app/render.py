"""Self-contained HTML of an answer: ranked labels and an explanation of the best one."""

import base64
import html
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from dstadapter_jax.data.clips import Clip
from dstadapter_jax.inference.attribution import Attribution, explain
from dstadapter_jax.inference.ranking import rank_labels
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.visualization.heatmap import overlay_heatmap

MIN_SIDE = 224  # pixels; smaller frames are enlarged, so that heatmaps look smooth
JPEG_QUALITY = 88


def answer_clip(recognizer: Recognizer, clip: Clip) -> str:
    """Recognize a clip and explain the best label on its center crop.

    Raises:
        NonFiniteOutputError: The model's probabilities are not finite.
    """
    predictions = rank_labels(recognizer, clip)
    view, best = clip.views[-1], predictions[0]
    attribution = explain(recognizer.model, view[np.newaxis], [best["id"]])
    return (
        f'<div class="answer">{_ranks(predictions)}'
        f"{_frames(view, clip.indices, attribution, best)}</div>"
    )


def message(text: str, *, error: bool = False) -> str:
    """HTML of a message in place of an answer."""
    role, kind = ("alert", "error") if error else ("status", "hint")
    return f'<p class="message {kind}" role="{role}">{html.escape(text)}</p>'


def _ranks(predictions: Sequence[dict[str, Any]]) -> str:
    """HTML list of the labels with bars, best first."""
    rows = [
        f'<li><span class="label">{html.escape(entry["label"])}</span>'
        f'<span class="share">{entry["probability"]:.1%}</span>'
        f'<span class="bar"><span style="width:{entry["probability"]:.2%}"></span></span></li>'
        for entry in predictions
    ]
    return f'<ol class="ranks" role="status">{"".join(rows)}</ol>'


def _frames(view: np.ndarray, indices: np.ndarray, attribution: Attribution, best: dict) -> str:
    """HTML of each frame, its heatmap, and its contribution to the best label's logit."""
    contributions = np.asarray(attribution.frame_contributions[0])
    patches = np.asarray(attribution.patches[0])
    scale = math.ceil(MIN_SIDE / view.shape[1])
    large = view.repeat(scale, axis=1).repeat(scale, axis=2)
    largest = max(float(np.abs(contributions).max()), 1e-9)
    figures = [
        _figure(int(index), frame, overlay, float(contribution), largest)
        for index, frame, overlay, contribution in zip(
            indices, large, overlay_heatmap(large, patches), contributions, strict=True
        )
    ]
    label = html.escape(best["label"])
    return (
        f"<h2>The {len(figures)} frames that the network used</h2>"
        f"<p>Bright patches below a frame are relevant for <b>{label}</b>. The bar is the frame's"
        " evidence for (blue) or against (orange) this label, relative to the mean of all labels."
        f'</p><ul class="frames">{"".join(figures)}</ul>'
    )


def _figure(
    index: int, frame: np.ndarray, overlay: np.ndarray, contribution: float, largest: float
) -> str:
    kind = "for" if contribution >= 0 else "against"
    width = abs(contribution) / largest
    return (
        f'<li><img src="{_data_uri(frame)}" alt="Frame {index}">'
        f'<img src="{_data_uri(overlay)}" alt="Relevant patches of frame {index}">'
        f'<span class="bar {kind}"><span style="width:{width:.2%}"></span></span>'
        f'<span class="caption"><span>frame {index}</span><span>{contribution:+.2f}</span></span>'
        "</li>"
    )


def _data_uri(pixels: np.ndarray) -> str:
    """`(h, w, 3)` uint8 RGB as a data URI of a JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
