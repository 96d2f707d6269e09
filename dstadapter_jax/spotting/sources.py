"""Sources of a stream's frames: a file, another program's output, a camera.

A source is an iterator over lists of frames in display order. Files and pipes wait for the reader
and give one frame per list. A camera does not wait: it gives all frames since the previous list.
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
from dstadapter_jax.data.video.reader import ClipError, iter_timed_frames
from dstadapter_jax.parallel.signals import StopRequest

logger = logging.getLogger(__name__)

PIPE = "-"  # name of standard input
CAMERA_BACKLOG = 1000  # frames at the network's input size; older ones are dropped


class Frame(NamedTuple):
    """A frame and its time.

    Attributes:
        seconds: Display time since the first frame.
        pixels: `(height, width, 3)` uint8 RGB.
    """

    seconds: float
    pixels: np.ndarray


def read_video(video: str) -> Iterator[list[Frame]]:
    """Yield the frames of a video file, or of standard input for ``-``.

    Standard input must be a container that can be read without seeking: YUV4MPEG, which carries
    size and frame rate, MPEG-TS or Matroska. A truncated pipe can't be distinguished from a
    complete one.

    Raises:
        ClipError: The video can't be read, or the file is truncated.
    """
    for seconds, pixels in _read_pipe() if video == PIPE else iter_timed_frames(video):
        yield [Frame(seconds, pixels)]


def _read_pipe() -> Iterator[tuple[float, np.ndarray]]:
    try:
        # Unbuffered, so that available data is decoded without waiting for more.
        yield from iter_timed_frames(io.FileIO(0, closefd=False), name="standard input")
    except OSError as error:
        raise ClipError("standard input", f"can't be read: {error.strerror}") from error
    except ClipError as error:
        reason = f"{error.reason}; expected YUV4MPEG, MPEG-TS, Matroska or another container"
        raise ClipError(error.clip, f"{reason} that can be read without seeking") from error


def read_camera(number: int, cfg: PreprocessConfig) -> Iterator[list[Frame]]:
    """Yield the frames of a camera of this machine, at the network's input size.

    Raises:
        ClipError: The camera can't be opened, or gives no more frames.
    """
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ClipError(
            f"camera {number}",
            "can't be opened: check that it is connected, that no other program uses it, and that"
            " this program may use it; --webcam 1 is the second camera",
        )
    with _Grabber(capture, cfg) as grabber:
        while frames := grabber.newest():
            yield frames
    raise ClipError(f"camera {number}", "gives no more frames")


def until_stopped(batches: Iterable[list[Frame]], stop: StopRequest) -> Iterator[list[Frame]]:
    """Yield the frames until Ctrl-C or SIGTERM, which end a live stream normally."""
    for frames in batches:
        yield frames
        if stop.requested:
            return


class _Grabber(contextlib.AbstractContextManager):
    """Reads a camera in a thread, so that each frame gets the time at which it arrives."""

    def __init__(self, capture: cv2.VideoCapture, cfg: PreprocessConfig):
        self._capture, self._cfg = capture, cfg
        self._frames: collections.deque[Frame] = collections.deque(maxlen=CAMERA_BACKLOG)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._ended, self._dropped = False, 0
        self._thread = threading.Thread(target=self._grab, daemon=True)

    def __enter__(self) -> "_Grabber":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._capture.release()
        if self._dropped:
            logger.warning(
                "%d frames were dropped: the network is slower than the camera", self._dropped
            )

    def newest(self) -> list[Frame]:
        """Wait for frames since the last call; an empty list once the camera has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended)
            frames = list(self._frames)
            self._frames.clear()
        return frames

    def _grab(self) -> None:
        start = time.monotonic()
        try:
            while not self._stopping.is_set():
                available, pixels = self._capture.read()
                if not available:
                    return
                seconds = time.monotonic() - start
                view = center_view(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), self._cfg)
                with self._changed:
                    self._dropped += len(self._frames) == CAMERA_BACKLOG
                    self._frames.append(Frame(seconds, view))
                    self._changed.notify()
        finally:  # always wake waiting consumers
            with self._changed:
                self._ended = True
                self._changed.notify()
