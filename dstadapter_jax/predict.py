"""Recognize signs in video files: `python -m dstadapter_jax.predict [--workdir DIR] VIDEO …`.

Pass `--adapter signs.safetensors` instead of a run. With several adapter files, each named, as in
`--adapter dgs=a.safetensors --adapter lsf=b.safetensors`, every adapter classifies every video.

Prints one JSON object per video, best label first. If a file can't be read, or the probabilities
are not finite, the object has an `error` instead, and the exit status is 1. `--explain out.png`
draws each frame's contribution, the relevant patches and the adapters' gates.

With `--stream` the videos are long: prints one JSON object per sign as soon as it is detected, with
start and end in seconds; `-` reads standard input. `--webcam` spots the signs that a camera sees,
until Ctrl-C. Both need `dstadapter_jax.calibrate` once.
"""

import argparse
import json
import sys
from typing import Any

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import png_path

MAX_CAMERAS = 64


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    from dstadapter_jax.inference.arguments import load_recognizers
    from dstadapter_jax.spotting.recognize import spot_camera, spot_videos
    from dstadapter_jax.spotting.settings import settings_for
    from dstadapter_jax.visualization.predictions import predict_videos

    args = _parse(argv)
    recognizers = load_recognizers(args)
    if not args.stream and args.webcam is None:
        return predict_videos(recognizers, args.videos, _print, args.explain)
    (recognizer,) = recognizers.values()
    settings = settings_for(recognizer, args.workdir)
    if args.webcam is None:
        return spot_videos(recognizer, settings, args.videos, _print)
    return spot_camera(recognizer, settings, args.webcam, _print)


def _print(answer: dict[str, Any]) -> None:
    ascii_only = sys.stdout.encoding.lower() != "utf-8"
    print(json.dumps(answer, ensure_ascii=ascii_only), flush=True)


def _parse(argv: list[str]) -> argparse.Namespace:
    from dstadapter_jax.inference.arguments import add_arguments, parse
    from dstadapter_jax.visualization.predictions import MAX_EXPLAINED

    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.predict", description=__doc__)
    add_arguments(parser, many=True)
    parser.add_argument("--explain", type=png_path, metavar="PNG", help="file for explanations")
    parser.add_argument("--stream", action="store_true", help="spot signs in long videos")
    parser.add_argument(
        "--webcam", type=int, nargs="?", const=0, metavar="N", help="camera number, default 0"
    )
    parser.add_argument("videos", nargs="*", metavar="VIDEO")
    args = parse(parser, argv)
    live = args.webcam is not None
    if live == bool(args.videos) or (live and not 0 <= args.webcam < MAX_CAMERAS):
        parser.error(f"expected either videos or --webcam N with N below {MAX_CAMERAS}")
    if (live or args.stream) and (args.explain or len(args.adapter or ()) > 1):
        parser.error("--stream and --webcam accept one adapter file and no --explain")
    answers = len(args.videos) * len(args.adapter or [""])
    if args.explain and answers > MAX_EXPLAINED:
        parser.error(f"--explain: expected at most {MAX_EXPLAINED} answers, found {answers}")
    return args


if __name__ == "__main__":
    sys.exit(run_cli(main))
