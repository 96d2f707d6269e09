"""Decoding of uploads in a separate process with limits of time and memory.

A crash or a hang of the video decoder ends that process only. Protocol of the process, `python -m
dstadapter_jax.app.hardening.decoder`: for each line of JSON on stdin it writes a line of JSON to
stdout, either `{"error": …}` or `{"bytes": n}` followed by an npz file of n bytes.
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

MAX_MEMORY = 3 * 2**30  # bytes; eight frames of 4096x4096 and the decoder's sixteen take 1 GiB


class Decoder:
    """Client of the decoding process; reads one clip at a time.

    Attributes:
        limits: Limits on a clip's frames and duration.
        seconds: Time limit per clip.
    """

    def __init__(self, limits: ClipLimits, seconds: float):
        self.limits, self.seconds = limits, seconds
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dstadapter_jax.app.hardening.decoder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C goes to the server, which ends this process
        )
        self._receive()  # wait until it is ready: the start does not count for the first clip

    def read(self, video: str, cfg: PreprocessConfig, decoder: str) -> Clip:
        """Read a clip like `read_clip_file`.

        Raises:
            ClipError: The clip can't be read within the limits.
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
            timer = threading.Timer(self.seconds, self._expire, [expired])
            timer.start()
            try:
                answer, content = self._request(request)
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
        """End the process."""
        with self._lock:
            self._end()

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self._process.kill()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _request(self, request: dict) -> tuple[dict, bytes]:
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
    """Answer requests until stdin ends."""
    # Output that libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for kind, limit in (("DATA", MAX_MEMORY), ("FSIZE", 0), ("CORE", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (limit, limit))
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
