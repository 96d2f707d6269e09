"""Decodes uploads in a process of its own, which may be slow, greedy or crash without harm.

`python -m dstadapter_jax.app.decoder` is that process. It answers a line of JSON on stdin by a line
of JSON on stdout, `{"error": …}` or `{"bytes": n}` and an npz file of n bytes, until stdin ends.
"""

import dataclasses
import io
import json
import os
import resource
import subprocess
import sys
import threading
from typing import IO

import numpy as np

from dstadapter_jax.data.clips import Clip, ClipLimits, read_clip_file
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.video.reader import ClipError

MEMORY = 3 * 2**30  # bytes; eight frames of 4096x4096 and a decoder's own sixteen take 1 GiB


class Decoder:
    """Reads clips, one at a time, within limits of time and memory.

    Attributes:
        limits: What a clip may claim to be.
        seconds: After which a clip is given up.
    """

    def __init__(self, limits: ClipLimits, seconds: float):
        self.limits, self.seconds = limits, seconds
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dstadapter_jax.app.decoder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the server, which ends this one
        )
        self._receive()  # it says that it is ready: starting counts for no clip

    def read(self, video: str, cfg: PreprocessConfig, decoder: str) -> Clip:
        """As `read_clip_file`.

        Raises:
            ClipError: It can't be read, or not within the limits.
        """
        request = {
            "video": video,
            "num_frames": cfg.num_frames,
            "resolution": cfg.resolution,
            "decoder": decoder,
            "limits": dataclasses.asdict(self.limits),
        }
        with self._lock:
            expired = threading.Event()
            timer = threading.Timer(self.seconds, self._give_up, [expired])
            timer.start()
            try:
                answer, content = self._ask(request)
            except (OSError, EOFError) as error:
                self._end()
                self._start()
                too_slow = f"takes longer than {self.seconds:g} seconds to decode"
                reason = too_slow if expired.is_set() else "makes the video decoder fail"
                raise ClipError(video, reason) from error
            finally:
                timer.cancel()
        if "error" in answer:
            raise ClipError(video, answer["error"])
        return Clip(**np.load(io.BytesIO(content), allow_pickle=False))

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def _give_up(self, expired: threading.Event) -> None:
        expired.set()
        self._process.kill()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict) -> tuple[dict, bytes]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self._receive()

    def _receive(self) -> tuple[dict, bytes]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the decoding process has ended")
        answer = json.loads(line)
        content = self._process.stdout.read(answer.get("bytes", 0))
        if len(content) < answer.get("bytes", 0):
            raise EOFError("the decoding process has ended")
        return answer, content


def main() -> None:
    """The process; ends when the one that started it does."""
    # Libraries that print must not break in on the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for kind, most in (("DATA", MEMORY), ("FSIZE", 0), ("CORE", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (most, most))
    _send(answers, {})
    for line in sys.stdin:
        request = json.loads(line)
        cfg = PreprocessConfig(request["num_frames"], request["resolution"])
        limits = ClipLimits(**request["limits"])
        try:
            clip = read_clip_file(request["video"], cfg, request["decoder"], limits)
        except ClipError as error:
            _send(answers, {"error": error.reason})
        else:
            content = io.BytesIO()
            np.savez(content, **clip._asdict())
            _send(answers, {"bytes": content.tell()}, content.getvalue())


def _send(answers: IO[bytes], answer: dict, content: bytes = b"") -> None:
    answers.write(json.dumps(answer).encode() + b"\n" + content)
    answers.flush()


if __name__ == "__main__":
    main()
