"""What the page shows of a clip, as HTML of its own: nothing in it is fetched from anywhere."""

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

LEAST_SIDE = 224  # pixels; smaller frames are enlarged, so that heat is smooth on them
JPEG_QUALITY = 88


def answer_clip(recognizer: Recognizer, clip: Clip) -> str:
    """Recognizes a clip and explains the best label on its center crop.

    Raises:
        DivergedError: The model's probabilities aren't finite.
    """
    predictions = rank_labels(recognizer, clip)
    view, best = clip.views[-1], predictions[0]
    attribution = explain(recognizer.model, view[np.newaxis], [best["id"]])
    return (
        f'<div class="answer">{_ranks(predictions)}'
        f"{_frames(view, clip.indices, attribution, best)}</div>"
    )


def message(text: str, *, error: bool = False) -> str:
    """A sentence in the answer's place."""
    role, kind = ("alert", "error") if error else ("status", "hint")
    return f'<p class="message {kind}" role="{role}">{html.escape(text)}</p>'


def _ranks(predictions: Sequence[dict[str, Any]]) -> str:
    """The labels as a list with bars, best first."""
    rows = [
        f'<li><span class="label">{html.escape(entry["label"])}</span>'
        f'<span class="share">{entry["probability"]:.1%}</span>'
        f'<span class="bar"><span style="width:{entry["probability"]:.2%}"></span></span></li>'
        for entry in predictions
    ]
    return f'<ol class="ranks" role="status">{"".join(rows)}</ol>'


def _frames(view: np.ndarray, indices: np.ndarray, attribution: Attribution, best: dict) -> str:
    """Each frame, where in it the network looked, and what it adds to the best label's logit."""
    contributions, patches = (
        np.asarray(attribution.frame_contributions[0]),
        np.asarray(attribution.patches[0]),
    )
    scale = math.ceil(LEAST_SIDE / view.shape[1])
    large = view.repeat(scale, axis=1).repeat(scale, axis=2)
    most = max(float(np.abs(contributions).max()), 1e-9)
    figures = [
        _figure(int(index), frame, heated, float(vote), most)
        for index, frame, heated, vote in zip(
            indices, large, overlay_heatmap(large, patches), contributions, strict=True
        )
    ]
    label = html.escape(best["label"])
    return (
        f"<h2>The {len(figures)} frames that were used, and which mattered</h2>"
        f"<p>Below each frame, bright is where the network looked to say <b>{label}</b>; the bar is"
        " what the frame adds to it (blue) or takes away (orange), against the mean of all labels."
        f'</p><ul class="frames">{"".join(figures)}</ul>'
    )


def _figure(index: int, frame: np.ndarray, heated: np.ndarray, vote: float, most: float) -> str:
    kind = "for" if vote >= 0 else "against"
    return (
        f'<li><img src="{_data_uri(frame)}" alt="Frame {index}">'
        f'<img src="{_data_uri(heated)}" alt="Where the network looked in frame {index}">'
        f'<span class="bar {kind}"><span style="width:{abs(vote) / most:.2%}"></span></span>'
        f'<span class="caption"><span>frame {index}</span><span>{vote:+.2f}</span></span></li>'
    )


def _data_uri(pixels: np.ndarray) -> str:
    """`(h, w, 3)` uint8 RGB as an address that holds the picture itself."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
