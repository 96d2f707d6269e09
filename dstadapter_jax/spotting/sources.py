"""Where the frames of a stream come from: a file, another program's output, a camera.

A source is an iterator over lists of frames, in the order they are shown. A file and a pipe wait
for who reads them and give one frame a list, so that none is lost; a camera doesn't wait, and gives
all that it has seen since the last list.
"""

import collections
import contextlib
import io
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from dstadapter_jax.data.preprocess import PreprocessConfig, center_view
from dstadapter_jax.data.video.reader import ClipError, iter_timed_frames, probe
from dstadapter_jax.parallel.signals import StopRequest

logger = logging.getLogger(__name__)

PIPE = "-"  # the name of what another program writes to our standard input
CAMERA_BACKLOG = 1000  # frames at the network's size; older ones are dropped


class Frame(NamedTuple):
    """A picture and when it is shown.

    Attributes:
        seconds: Since the first one.
        pixels: `(height, width, 3)` uint8 RGB.
    """

    seconds: float
    pixels: np.ndarray


def read_video(video: str) -> Iterator[list[Frame]]:
    """The frames of a video file, or of standard input if it is called ``-``.

    Standard input is a stream of any container that can be read without going back: YUV4MPEG, which
    carries size and frame rate, MPEG-TS, Matroska. Where it ends is its end: nobody can tell
    whether there should be more.

    Raises:
        ClipError: It can't be read, or the file says that there should be more of it.
    """
    if video == PIPE:
        frames = _read_pipe()
    else:
        probe(video)
        frames = iter_timed_frames(video)
    for seconds, pixels in frames:
        yield [Frame(seconds, pixels)]


def _read_pipe() -> Iterator[tuple[float, np.ndarray]]:
    try:
        # Unbuffered: what has come is looked at without waiting for more.
        yield from iter_timed_frames(io.FileIO(0, closefd=False), name="standard input")
    except OSError as error:
        raise ClipError("standard input", f"can't be read: {error.strerror}") from error
    except ClipError as error:
        reason = f"{error.reason}; expected YUV4MPEG, MPEG-TS, Matroska or another kind of video"
        raise ClipError(error.clip, f"{reason} that is read from its start to its end") from error


def read_camera(number: int, cfg: PreprocessConfig) -> Iterator[list[Frame]]:
    """The frames of a camera of this machine, at the network's size, until it is unplugged.

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
    with _Grabber(capture, cfg) as grabber:
        while frames := grabber.newest():
            yield frames
    raise ClipError(f"camera {number}", "gives no more frames")


def until_stopped(batches: Iterable[list[Frame]], stop: StopRequest) -> Iterator[list[Frame]]:
    """The same frames until Ctrl-C or SIGTERM, which end a live stream as its own end would."""
    for frames in batches:
        yield frames
        if stop.requested:
            return


class _Grabber(contextlib.AbstractContextManager):
    """Reads a camera in a thread of its own, so that frames get their time when they are seen."""

    def __init__(self, capture: cv2.VideoCapture, cfg: PreprocessConfig):
        self._capture, self._cfg = capture, cfg
        self._frames: collections.deque[Frame] = collections.deque(maxlen=CAMERA_BACKLOG)
        self._changed = threading.Condition()
        self._left = threading.Event()
        self._ended, self._dropped = False, 0
        self._thread = threading.Thread(target=self._grab, daemon=True)

    def __enter__(self) -> "_Grabber":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        self._capture.release()
        if self._dropped:
            logger.warning(
                "%d frames were dropped: the network is much slower than the camera", self._dropped
            )

    def newest(self) -> list[Frame]:
        """The frames since the last call, at least one; none once the camera has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended)
            frames = list(self._frames)
            self._frames.clear()
        return frames

    def _grab(self) -> None:
        start = time.monotonic()
        try:
            while not self._left.is_set():
                there, pixels = self._capture.read()
                if not there:
                    return
                seconds = time.monotonic() - start
                view = center_view(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), self._cfg)
                with self._changed:
                    self._dropped += len(self._frames) == CAMERA_BACKLOG
                    self._frames.append(Frame(seconds, view))
                    self._changed.notify()
        finally:  # whatever happens: who waits for frames is told that none will come
            with self._changed:
                self._ended = True
                self._changed.notify()
