"""A page on which people try a recogniser: `python -m dstadapter_jax.app --adapter FILE`.

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
import signal
import sys
import threading

from dstadapter_jax.app.decoder import Decoder
from dstadapter_jax.app.uploads import KEPT_SECONDS, sweep, temporary_folder
from dstadapter_jax.clip_file import ClipLimits
from dstadapter_jax.command import main_with_messages
from dstadapter_jax.recogniser_arguments import add_arguments, load_recognisers, parse

ALLOWED = (
    "A clip of one sign, {max_seconds:g} seconds and {max_megabytes} MB at most. It is deleted once"
    " it is answered."
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
    limits = ClipLimits(args.max_frames, args.max_seconds)
    recognisers = load_recognisers(args)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with (
        contextlib.closing(Decoder(limits, args.time_limit)) as decoder,
        temporary_folder() as folder,
    ):
        from dstadapter_jax.app.page import Answering, build_page
        from dstadapter_jax.app.server import serve

        answering = Answering(recognisers, decoder, folder)
        answering.warm_up()
        page = build_page(answering, ALLOWED.format(**vars(args)))
        try:
            serve(page, folder, args.host, args.port, args.max_megabytes * 2**20)
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
    parser.add_argument("--max_megabytes", type=int, default=50, help="of a clip's file (50)")
    parser.add_argument("--max_seconds", type=float, default=60, help="of a clip (60)")
    parser.add_argument("--max_frames", type=int, default=3600, help="of a clip (3600)")
    parser.add_argument(
        "--time_limit", type=float, default=20, help="seconds that decoding a clip may take (20)"
    )
    return parse(parser, argv)


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
