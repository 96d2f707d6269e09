"""Recognises the signs in video files: `python -m dstadapter_jax.predict --workdir DIR VIDEO …`.

Prints one JSON object a video, best label first; a file that can't be read gives an `error`
instead, and exit status 1 at the end.
"""

import argparse
import json
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from dstadapter_jax.command import expanded_path, main_with_messages
from dstadapter_jax.preprocess import PreprocessConfig, preprocess
from dstadapter_jax.recogniser import Recogniser
from dstadapter_jax.video import ClipError, probe_whole, read_frames


def read_views(video: str, cfg: PreprocessConfig, decoder: str) -> tuple[np.ndarray, np.ndarray]:
    """The test views of a video file and their counts, as `preprocess` gives them.

    Raises:
        ClipError: It can't be read.
    """
    return preprocess(
        probe_whole(video).num_frames,
        lambda indices: read_frames(video, indices.tolist(), decoder=decoder),
        cfg,
        "test",
    )


def predict(recogniser: Recogniser, video: str) -> list[dict[str, Any]]:
    """The five most probable labels of a video file, best first.

    Raises:
        ClipError: It can't be read.
    """
    decoder = recogniser.config["data"]["decoder"]
    views, counts = read_views(video, recogniser.preprocess, decoder)
    scores = np.average(recogniser.probabilities(views), axis=0, weights=counts)
    return [
        {"label": recogniser.label_names[i], "id": int(i), "probability": float(scores[i])}
        for i in np.argsort(-scores, kind="stable")[:5]
    ]


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.predict", description=__doc__)
    parser.add_argument("--workdir", type=expanded_path, required=True, help="of a run")
    parser.add_argument("--step", default="best", help="best (by validation), last, or a number")
    parser.add_argument("--backbone", default="", help="where its file is, if it has moved")
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    args = parser.parse_args(argv)
    recogniser = Recogniser.load(args.workdir, args.step, args.backbone)
    failed = False
    for video in tqdm(args.videos, unit="video", disable=None, leave=False):
        try:
            answer = {"video": video, "predictions": predict(recogniser, video)}
        except ClipError as error:
            failed = True
            answer = {"video": video, "error": error.reason}
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
