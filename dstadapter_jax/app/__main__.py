"""Serve a web page for trying a recognizer: `python -m dstadapter_jax.app [--adapter FILE]`.

Visitors upload or record a clip and see the five most probable signs, the frames that the network
used, and the relevant ones among them. With several `--adapter NAME=FILE` they choose the language;
`--workdir DIR` serves a run, by default the newest one in `runs/`.

Requires `pip install -r requirements-app.txt`. Clips are decoded in a separate process and deleted
after the answer; the page loads nothing from other hosts.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import os
import signal
import sys
import threading

from dstadapter_jax.app.hardening.decoder import Decoder
from dstadapter_jax.app.hardening.uploads import MAX_AGE_SECONDS, sweep, temporary_folder
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.data.clips import ClipLimits
from dstadapter_jax.errors import UserError
from dstadapter_jax.inference.arguments import add_arguments, load_recognizers, parse

MAX_FRAMES = 3600  # per clip: a minute at 60 frames per second
ALLOWED = (
    "A clip of one sign, at most {max_seconds:g} seconds and {max_megabytes:g} MB."
    " It is deleted after the answer."
)
HOST_HELP = (
    "address to listen on; by default only this machine can reach the page. With 0.0.0.0 everybody"
    " in the network can: put a proxy with log-in and encryption in front of it. Browsers allow"
    " the camera on https and localhost only"
)


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    args = _parse(argv)
    if not importlib.util.find_spec("gradio"):
        raise UserError(
            "gradio", problem="not installed", advice="pip install -r requirements-app.txt"
        )
    limits = ClipLimits(MAX_FRAMES, args.max_seconds)
    recognizers = load_recognizers(args)
    _ignore_proxies()
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
                sweep(folder, MAX_AGE_SECONDS)
        finally:
            page.close(verbose=False)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.app", description=__doc__)
    add_arguments(parser, many=True)
    parser.add_argument("--host", default="127.0.0.1", help=HOST_HELP)
    parser.add_argument("--port", type=int, default=0, help="default: the first free one from 7860")
    for name, default, text in (
        ("--max_megabytes", 50, "maximum file size in MB"),
        ("--max_seconds", 60, "maximum duration of a clip"),
        ("--time_limit", 20, "seconds allowed for decoding a clip"),
    ):
        parser.add_argument(
            name, type=_positive, default=default, help=f"{text}, default {default}"
        )
    return parse(parser, argv)


def _ignore_proxies() -> None:
    """Remove proxies from the environment: Gradio would ask one whether this page can be reached.

    The page contacts no other machine. Models are loaded before.
    """
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]


def _positive(text: str) -> float:
    """Positive number, for `argparse`."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return value


if __name__ == "__main__":
    sys.exit(run_cli(main))
