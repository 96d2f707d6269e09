"""Predictions for video files, with pictures that explain them on request."""

import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.inference.ranking import rank_labels, read_clip
from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer
from dstadapter_jax.visualization.explanation_sheet import (
    Explanation,
    draw_explanations,
    explain_best,
)

logger = logging.getLogger(__name__)

MAX_EXPLAINED = 20  # clips in a picture; viewers refuse higher pictures


def predict_videos(
    recognizers: Mapping[str, Recognizer],
    videos: Sequence[str],
    output: Callable[[dict[str, Any]], None],
    picture: pathlib.Path | None = None,
) -> int:
    """Outputs the most probable labels of each video by each recognizer.

    Args:
        recognizers: Recognizers by name; `""` for a single one.
        videos: Paths.
        output: Receives one JSON object per video and recognizer, with `predictions` or `error`.
        picture: PNG file for explanations of the best labels.

    Returns:
        Exit status: 1 if a video could not be read or a model's output is not finite, else 0.
    """
    failed, explanations = False, list[Explanation]()
    pairs = [(video, *named) for video in videos for named in recognizers.items()]
    for video, name, recognizer in tqdm(pairs, unit="video", disable=None, leave=False):
        answer = {"video": video} | ({"language": name} if name else {})
        try:
            clip = read_clip(recognizer, video)
            answer["predictions"] = rank_labels(recognizer, clip)
        except ClipError as error:
            answer["error"] = error.reason
        except NonFiniteOutputError as error:
            answer["error"] = str(error)
        else:
            if picture:
                title = f"{video} in {name}" if name else video
                predictions = answer["predictions"]
                explanations.append(explain_best(recognizer, title, clip, predictions))
        failed |= "error" in answer
        output(answer)
    if picture and explanations:
        draw_explanations(picture, explanations)
        logger.info("drew %s", picture)
    return int(failed)
