"""Recognizes the signs in video files: `python -m dstadapter_jax.predict --workdir DIR VIDEO …`.

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

from tqdm import tqdm

from dstadapter_jax.adapters.spotting_settings import SpottingSettings
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.inference.arguments import add_arguments, load_recognizers, parse
from dstadapter_jax.inference.ranking import rank_labels, read_clip
from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer
from dstadapter_jax.parallel.signals import Interrupted, StopRequest
from dstadapter_jax.spotting.recognize import spot_signs
from dstadapter_jax.spotting.sources import PIPE, Frame, read_camera, read_video, until_stopped
from dstadapter_jax.visualization.explanation_sheet import draw_explanations, explain_best

logger = logging.getLogger("dstadapter_jax.predict")  # __name__ is "__main__" here

MAX_CAMERAS = 64
MAX_EXPLAINED = 20  # a picture of so many clips is as high as viewers open


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    args = _parse(argv)
    if args.stream or args.webcam is not None:
        return _watch_streams(args)
    recognizers = load_recognizers(args)
    failed, explanations = False, []
    asked = [(video, *named) for video in args.videos for named in recognizers.items()]
    for video, language, recognizer in tqdm(asked, unit="video", disable=None, leave=False):
        answer = {"video": video} | ({"language": language} if language else {})
        name = f"{video} in {language}" if language else video
        try:
            clip = read_clip(recognizer, video)
            answer["predictions"] = rank_labels(recognizer, clip)
        except ClipError as error:
            answer["error"] = error.reason
        except NonFiniteOutputError as error:
            answer["error"] = str(error)
        else:
            if args.explain:
                explanations.append(explain_best(recognizer, name, clip, answer["predictions"]))
        failed |= "error" in answer
        _print(answer)
    if explanations:
        draw_explanations(args.explain, explanations)
        logger.info("drew %s", args.explain)
    return int(failed)


def _watch_streams(args: argparse.Namespace) -> int:
    """Prints the signs of long videos, or before a camera; `error` where that can't be read."""
    (recognizer,) = load_recognizers(args).values()
    settings = _stream_settings(args, recognizer)
    camera = args.webcam is not None
    statuses = []
    for name in args.videos or [f"camera {args.webcam}"]:
        batches = read_camera(args.webcam, recognizer.preprocess) if camera else read_video(name)
        statuses.append(_watch(recognizer, settings, batches, name, live=camera or name == PIPE))
    return max(statuses)


def _watch(
    recognizer: Recognizer,
    settings: SpottingSettings,
    batches: Iterator[list[Frame]],
    name: str,
    *,
    live: bool,
) -> int:
    """Prints the signs of a stream; returns the exit status. Ctrl-C ends a live one as its end."""
    with StopRequest() if live else contextlib.nullcontext() as stop:
        frames = until_stopped(batches, stop) if stop else batches
        try:
            for sign in spot_signs(recognizer, settings, frames, name, live=live):
                line = {"video": name, "label": recognizer.label_names[sign.label]}
                _print(line | {"id": sign.label} | sign.times())
        except ClipError as error:
            _print({"video": name, "error": error.reason})
            return 1
        signum = stop.requested if stop else 0
    return Interrupted(signum).status if signum else 0


def _stream_settings(args: argparse.Namespace, recognizer: Recognizer) -> SpottingSettings:
    if args.workdir:
        return SpottingSettings.load(args.workdir, recognizer.step, recognizer.model.cfg.width)
    if recognizer.stream is None:
        raise ValueError(
            "--adapter: the file doesn't say what tells signs from what is between them. Let"
            " `python -m dstadapter_jax.calibrate` find out for the run, and export it again."
        )
    return recognizer.stream


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
    if live == bool(args.videos) or (live and not 0 <= args.webcam < MAX_CAMERAS):
        parser.error(f"expected either videos or --webcam, a number below {MAX_CAMERAS}")
    if streams and (args.explain or len(args.adapter or ()) > 1):
        parser.error("--stream and --webcam take one adapter file, and draw nothing: no --explain")
    answers = len(args.videos) * len(args.adapter or [""])
    if args.explain and answers > MAX_EXPLAINED:
        parser.error(f"--explain: expected {MAX_EXPLAINED} answers at most, got {answers}")
    return args


def _png(text: str) -> pathlib.Path:
    """The path of a picture; for `argparse`."""
    path = expanded_path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png, got {text}")
    return path


if __name__ == "__main__":
    sys.exit(run_cli(main))
