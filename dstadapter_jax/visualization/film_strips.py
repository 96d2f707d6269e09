"""Film strips of clips: the frames that the network saw, inlined into a page."""

import base64
import dataclasses
import xml.etree.ElementTree as ET
from typing import Self

import cv2
import numpy as np

from dstadapter_jax.data.clip_dataset import Example
from dstadapter_jax.data.loader import example_views
from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames
from dstadapter_jax.data.views import Views
from dstadapter_jax.html.markup import Node, tag

JPEG_QUALITY = 90


@dataclasses.dataclass(frozen=True)
class Strip:
    """One view of a clip.

    Attributes:
        frames: `(T, R, R, 3)` uint8 RGB, what the network saw before normalization.
        indices: `(T,)`, which frames of the clip they are.
    """

    frames: np.ndarray
    indices: np.ndarray

    @classmethod
    def of(cls, example: Example, cfg: PreprocessConfig, decoder: str, views: Views) -> Self:
        """The middle crop of the middle one of the clips that were scored."""
        middle, num_clips = views.segments // 2, views.segments
        pixels, *_ = example_views(
            example, cfg, decoder, "test", None, Views(crops=1, segments=num_clips)
        )
        indices = choose_frames(
            int(example["num_frames"]), cfg, "test", clip=middle, num_clips=num_clips
        )
        return cls(pixels[middle], indices)


def strip_figure(strip: Strip, relevance: np.ndarray, name: str, *caption: Node) -> ET.Element:
    """A figure of all frames, side by side or, where there is little room, in rows.

    Args:
        strip: The frames.
        relevance: `(T, R, R, 3)` uint8, the same under heat where they counted.
        name: Of the clip, for those who can't see it.
        caption: Below it.
    """
    return tag(
        "figure",
        _row(strip.frames, strip.indices, f"Frames of {name}"),
        _row(relevance, strip.indices, f"What counted in the frames of {name}"),
        tag("figcaption", *caption),
    )


def _row(frames: np.ndarray, indices: np.ndarray, about: str) -> ET.Element:
    images = [
        tag(
            "img",
            src=f"data:image/jpeg;base64,{_jpeg(frame)}",
            alt=f"frame {index}",
            title=f"frame {index}",
            width=frames.shape[2],
            height=frames.shape[1],
        )
        for frame, index in zip(frames, indices.tolist(), strict=True)
    ]
    return tag("div", *images, class_="strip", role="group", aria_label=about)


def frames_text(indices: np.ndarray) -> str:
    """`frames 0, 4, 8 and 12`."""
    *others, last = map(str, indices)
    return f"frames {', '.join(others)} and {last}" if others else f"frame {last}"


def _jpeg(frame: np.ndarray) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    return base64.b64encode(jpeg.tobytes()).decode()
