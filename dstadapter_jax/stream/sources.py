"""Where the frames of a stream come from: a file, another program's output, a camera.

Each source is an iterator over batches of `(seconds, frame)`, in the order they are shown: what has
come since the last time it was asked. A file and a pipe give one frame at a time and wait for who
reads them, so that none is lost; a camera doesn't wait, and gives all that it has seen meanwhile.
"""

import collections
import contextlib
import pathlib
import sys
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from dstadapter_jax.video import ClipError, iter_timed_frames

Frame = tuple[float, np.ndarray]  # seconds since the first one; (height, width, 3) uint8 RGB

PIPE = "-"  # the name of what another program writes to our standard input
CAMERA_BACKLOG = 100  # frames; older ones are dropped while a window is computed


def read_video(video: str) -> Iterator[list[Frame]]:
    """The frames of a video file, or of standard input if it is called ``-``.

    Standard input is a stream of any container that can be read without going back: YUV4MPEG, which
    carries size and frame rate, MPEG-TS, Matroska.

    Raises:
        ClipError: It can't be read, or breaks off.
    """
    if video == PIPE:
        frames = iter_timed_frames(sys.stdin.buffer, name="standard input")
    else:
        frames = iter_timed_frames(str(pathlib.Path(video).expanduser()), name=video)
    for timed in frames:
        yield [timed]


def read_camera(number: int) -> Iterator[list[Frame]]:
    """The frames of a camera of this machine, until it is unplugged.

    Raises:
        ClipError: There is none of that number, or it gives no more frames.
    """
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ClipError(
            f"camera {number}",
            "can't be opened: is it there, free, and may this program use it? --webcam 1 is the"
            " second one",
        )
    with _Grabber(capture) as grabber:
        while frames := grabber.newest():
            yield frames
    raise ClipError(f"camera {number}", "gives no more frames")


class _Grabber(contextlib.AbstractContextManager):
    """Reads a camera in a thread of its own, so that frames get their time when they are seen."""

    def __init__(self, capture: cv2.VideoCapture):
        self._capture = capture
        self._frames: collections.deque[Frame] = collections.deque(maxlen=CAMERA_BACKLOG)
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._grab, daemon=True)

    def __enter__(self) -> "_Grabber":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        self._capture.release()

    def newest(self) -> list[Frame]:
        """The frames since the last call, at least one; none once the camera has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended)
            frames = list(self._frames)
            self._frames.clear()
        return frames

    def _grab(self) -> None:
        start = time.monotonic()
        while not self._ended:
            there, frame = self._capture.read()
            with self._changed:
                if there:
                    seconds = time.monotonic() - start
                    self._frames.append((seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
                self._ended |= not there
                self._changed.notify()
