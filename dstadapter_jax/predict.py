"""Recognises the signs in video files: `python -m dstadapter_jax.predict --workdir DIR VIDEO …`.

An adapter file does in place of a run: `--adapter signs.safetensors`. With several, each named, as
in `--adapter dgs=a.safetensors --adapter lsf=b.safetensors`, every video is answered in each.

Prints one JSON object a video, best label first; a file that can't be read gives an `error`
instead, and exit status 1 at the end.
"""

import argparse
import json
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from dstadapter_jax.command import main_with_messages
from dstadapter_jax.preprocess import preprocess
from dstadapter_jax.recogniser import Recogniser
from dstadapter_jax.recogniser_arguments import add_arguments, load_recognisers, parse
from dstadapter_jax.video import ClipError, probe_whole, read_frames


def predict(recogniser: Recogniser, video: str) -> list[dict[str, Any]]:
    """The five most probable labels of a video file, best first.

    Raises:
        ClipError: It can't be read.
    """
    decoder = recogniser.config["data"]["decoder"]
    views, counts = preprocess(
        probe_whole(video).num_frames,
        lambda indices: read_frames(video, indices.tolist(), decoder=decoder),
        recogniser.preprocess,
        "test",
    )
    scores = np.average(recogniser.probabilities(views), axis=0, weights=counts)
    return [
        {"label": recogniser.label_names[i], "id": int(i), "probability": float(scores[i])}
        for i in np.argsort(-scores, kind="stable")[:5]
    ]


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.predict", description=__doc__)
    add_arguments(parser, many=True)
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    args = parse(parser, argv)
    recognisers = load_recognisers(args)
    failed = False
    for video in tqdm(args.videos, unit="video", disable=None, leave=False):
        for language, recogniser in recognisers.items():
            answer = {"video": video} | ({"language": language} if language else {})
            try:
                answer["predictions"] = predict(recogniser, video)
            except ClipError as error:
                failed = True
                answer["error"] = error.reason
            print(json.dumps(answer, ensure_ascii=False), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
