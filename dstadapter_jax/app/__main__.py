"""A page on which people try a recognizer: `python -m dstadapter_jax.app --adapter FILE`.

They upload a clip or record one, and see the five most probable signs, the frames that the network
used, and which of them mattered. `--adapter NAME=FILE`, given several times, lets them choose the
language; `--workdir DIR` serves a run.

It needs `pip install -r requirements-app.txt`. Clips are decoded in a process of their own, and
deleted once they are answered; the page loads nothing from other hosts.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import signal
import sys
import threading

from dstadapter_jax.app.decoder import Decoder
from dstadapter_jax.app.uploads import KEPT_SECONDS, sweep, temporary_folder
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.data.clips import ClipLimits
from dstadapter_jax.inference.arguments import add_arguments, load_recognizers, parse

MAX_FRAMES = 3600  # of a clip; a minute at 60 a second
ALLOWED = (
    "A clip of one sign, {max_seconds:g} seconds and {max_megabytes:g} MB at most."
    " It is deleted once it is answered."
)
OPENING = (
    "address to listen on; by default only this machine can reach the page. With 0.0.0.0 everybody"
    " who reaches this machine can: there is no log-in and no encryption, so that a proxy in front"
    " of it should have both; browsers lend a camera to https and to localhost alone"
)


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    args = _parse(argv)
    if not importlib.util.find_spec("gradio"):
        raise ValueError("the page needs Gradio: pip install -r requirements-app.txt")
    limits = ClipLimits(MAX_FRAMES, args.max_seconds)
    recognizers = load_recognizers(args)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with (
        contextlib.closing(Decoder(limits, args.time_limit)) as decoder,
        temporary_folder() as folder,
    ):
        from dstadapter_jax.app.page import Answering, build_page
        from dstadapter_jax.app.server import serve

        answering = Answering(recognizers, decoder, folder)
        answering.warm_up()
        page = build_page(answering, ALLOWED.format(**vars(args)))
        try:
            serve(page, folder, args.host, args.port, int(args.max_megabytes * 2**20))
            print(json.dumps({"url": page.local_url}), flush=True)
            while not stop.wait(60):
                sweep(folder, KEPT_SECONDS)
        finally:
            page.close(verbose=False)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.app", description=__doc__)
    add_arguments(parser, many=True)
    parser.add_argument("--host", default="127.0.0.1", help=OPENING)
    parser.add_argument("--port", type=int, default=0, help="by default the first free from 7860")
    for name, default, unit in (
        ("--max_megabytes", 50, "MB of a clip's file"),
        ("--max_seconds", 60, "seconds of a clip"),
        ("--time_limit", 20, "seconds that decoding a clip may take"),
    ):
        parser.add_argument(name, type=_positive, default=default, help=f"{unit} ({default})")
    return parse(parser, argv)


def _positive(text: str) -> float:
    """A limit; for `argparse`."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(run_cli(main))
