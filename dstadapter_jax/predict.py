"""Recognises the signs in video files: `python -m dstadapter_jax.predict --workdir DIR VIDEO …`.

An adapter file does in place of a run: `--adapter signs.safetensors`. With several, each named, as
in `--adapter dgs=a.safetensors --adapter lsf=b.safetensors`, every video is answered in each.

Prints one JSON object a video, best label first; a file that can't be read gives an `error`
instead, as does a model that has diverged, and exit status 1 at the end.

With `--explain out.png` it also draws why each video is taken for its best label: the frames that
the network saw, how much each of them and each of their patches counted, and the adapters' gates.

With `--stream` the videos are long: prints one JSON object a sign that is found in them, with start
and end in seconds, as soon as it is known; `-` is what another program writes to standard input.
`--webcam` finds signs before a camera, until Ctrl-C. Both need `dstadapter_jax.calibrate` once.
"""

import argparse
import contextlib
import json
import logging
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from dstadapter_jax.cli.main import expanded_path, main_with_messages
from dstadapter_jax.data.clips import Clip, read_clip_file
from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.inference.arguments import add_arguments, load_recognisers, parse
from dstadapter_jax.inference.attribution import explain
from dstadapter_jax.inference.recognizer import DivergedError, Recogniser
from dstadapter_jax.parallel.signals import Interrupted, StopRequest
from dstadapter_jax.spotting.recognize import recognise_stream
from dstadapter_jax.spotting.settings import StreamSettings
from dstadapter_jax.spotting.sources import PIPE, Frame, read_camera, read_video, until_stopped
from dstadapter_jax.visualization.explanation_sheet import Explanation, draw_explanations

logger = logging.getLogger("dstadapter_jax.predict")  # __name__ is "__main__" here

MOST_CAMERAS = 64
MOST_EXPLAINED = 20  # a picture of so many clips is as high as viewers open


def read_clip(recogniser: Recogniser, video: str) -> Clip:
    """Reads a video file for a recogniser.

    Raises:
        ClipError: It can't be read.
    """
    decoder = recogniser.config["data"]["decoder"]
    return read_clip_file(video, recogniser.preprocess, decoder)


def predict(recogniser: Recogniser, video: str) -> list[dict[str, Any]]:
    """The five most probable labels of a video file, best first.

    Raises:
        ClipError: It can't be read.
        DivergedError: The model's probabilities aren't finite.
    """
    return rank_labels(recogniser, read_clip(recogniser, video))


def rank_labels(recogniser: Recogniser, clip: Clip) -> list[dict[str, Any]]:
    """The five most probable labels of a clip, best first; may raise DivergedError."""
    scores = np.average(recogniser.probabilities(clip.views), axis=0, weights=clip.counts)
    if not np.isfinite(scores).all():
        raise DivergedError
    return [
        {"label": recogniser.label_names[i], "id": int(i), "probability": float(scores[i])}
        for i in np.argsort(-scores, kind="stable")[:5]
    ]


def explain_best(
    recogniser: Recogniser, name: str, clip: Clip, predictions: list[dict[str, Any]]
) -> Explanation:
    """Why the centre crop of a clip of some name is taken for the best of its ranked labels."""
    best, *others = predictions
    view = clip.views[-1]
    next_best = [f"{other['label']} {other['probability']:.1%}" for other in others[:2]]
    details = [name, "next: " + ", ".join(next_best)] if others else [name]
    if len(clip.views) > 1:
        details.append(f"shown is the middle one of {clip.counts.sum()} crops")
    return Explanation(
        label=f"{best['label']}  {best['probability']:.1%}",
        details="  ·  ".join(details),
        frame_captions=[f"frame {index}" for index in clip.indices],
        view=view,
        attribution=explain(recogniser.model, view[np.newaxis], [best["id"]]),
    )


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    args = _parse(argv)
    if args.stream or args.webcam is not None:
        return _watch_streams(args)
    recognisers = load_recognisers(args)
    failed, explanations = False, []
    asked = [(video, *named) for video in args.videos for named in recognisers.items()]
    for video, language, recogniser in tqdm(asked, unit="video", disable=None, leave=False):
        answer = {"video": video} | ({"language": language} if language else {})
        name = f"{video} in {language}" if language else video
        try:
            clip = read_clip(recogniser, video)
            answer["predictions"] = rank_labels(recogniser, clip)
        except ClipError as error:
            answer["error"] = error.reason
        except DivergedError as error:
            answer["error"] = str(error)
        else:
            if args.explain:
                explanations.append(explain_best(recogniser, name, clip, answer["predictions"]))
        failed |= "error" in answer
        _print(answer)
    if explanations:
        draw_explanations(args.explain, explanations)
        logger.info("drew %s", args.explain)
    return int(failed)


def _watch_streams(args: argparse.Namespace) -> int:
    """Prints the signs of long videos, or before a camera; `error` where that can't be read."""
    (recogniser,) = load_recognisers(args).values()
    settings = _stream_settings(args, recogniser)
    camera = args.webcam is not None
    statuses = []
    for name in args.videos or [f"camera {args.webcam}"]:
        batches = read_camera(args.webcam, recogniser.preprocess) if camera else read_video(name)
        statuses.append(_watch(recogniser, settings, batches, name, live=camera or name == PIPE))
    return max(statuses)


def _watch(
    recogniser: Recogniser,
    settings: StreamSettings,
    batches: Iterator[list[Frame]],
    name: str,
    *,
    live: bool,
) -> int:
    """Prints the signs of a stream; returns the exit status. Ctrl-C ends a live one as its end."""
    with StopRequest() if live else contextlib.nullcontext() as stop:
        frames = until_stopped(batches, stop) if stop else batches
        try:
            for sign in recognise_stream(recogniser, settings, frames, name, live=live):
                line = {"video": name, "label": recogniser.label_names[sign.label]}
                _print(line | {"id": sign.label} | sign.times())
        except ClipError as error:
            _print({"video": name, "error": error.reason})
            return 1
        signum = stop.requested if stop else 0
    return Interrupted(signum).status if signum else 0


def _stream_settings(args: argparse.Namespace, recogniser: Recogniser) -> StreamSettings:
    if args.workdir:
        return StreamSettings.load(args.workdir, recogniser.step, recogniser.model.cfg.width)
    if recogniser.stream is None:
        raise ValueError(
            "--adapter: the file doesn't say what tells signs from what is between them. Let"
            " `python -m dstadapter_jax.calibrate` find out for the run, and export it again."
        )
    return recogniser.stream


def _print(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, ensure_ascii=False), flush=True)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.predict", description=__doc__)
    add_arguments(parser, many=True)
    parser.add_argument("--explain", type=_png, metavar="PNG", help="draws why, to this file")
    parser.add_argument("--stream", action="store_true", help="the videos show many signs each")
    parser.add_argument(
        "--webcam",
        type=int,
        nargs="?",
        const=0,
        metavar="N",
        help="a camera, from 0; 0 unless told",
    )
    parser.add_argument("videos", nargs="*", metavar="VIDEO")
    args = parse(parser, argv)
    live, streams = args.webcam is not None, args.stream or args.webcam is not None
    if live == bool(args.videos) or (live and not 0 <= args.webcam < MOST_CAMERAS):
        parser.error(f"expected either videos or --webcam, a number below {MOST_CAMERAS}")
    if streams and (args.explain or len(args.adapter or ()) > 1):
        parser.error("--stream and --webcam take one adapter file, and draw nothing: no --explain")
    answers = len(args.videos) * len(args.adapter or [""])
    if args.explain and answers > MOST_EXPLAINED:
        parser.error(f"--explain: expected {MOST_EXPLAINED} answers at most, got {answers}")
    return args


def _png(text: str) -> pathlib.Path:
    """The path of a picture; for `argparse`."""
    path = expanded_path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png, got {text}")
    return path


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
