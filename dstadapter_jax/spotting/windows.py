"""Sliding windows over a stream: at every hop several lengths, all ending at the newest frame.

The network sees a window as it sees a clip: `data.preprocess` resizes and crops every frame, and
samples the frames of a window as those of a clip that begins and ends with it. A window, like a
clip, lasts from the time of its first frame to that of its last.
"""

import collections
from typing import NamedTuple

import numpy as np

from dstadapter_jax.data.preprocess import PreprocessConfig, center_view, choose_frames

HOPS_PER_WINDOW = 8  # in the shortest window: at one of them a sign nearly fills a window
MIN_COVERAGE = 0.9  # share of a window's length between its first and last frame
TIME_TOLERANCE = 1e-6  # seconds
MIN_INTERVAL = 1 / 250  # seconds between frames; bounds memory for any frame rate


class Window(NamedTuple):
    """A segment of a stream as the network's input.

    Attributes:
        start: Time of the first frame in seconds.
        end: Time of the last frame in seconds.
        view: `(T, R, R, 3)` uint8, the center crop.
    """

    start: float
    end: float
    view: np.ndarray


class SlidingWindows:
    """Buffer of the frames of the longest window.

    Attributes:
        hop: Mean time between two sets of windows in seconds.
        num_lengths: Number of windows in a set, once the stream has the longest window's length.
    """

    def __init__(
        self,
        lengths: tuple[float, ...],
        cfg: PreprocessConfig,
        hops_per_window: int = HOPS_PER_WINDOW,
    ):
        """Initialize for window lengths in seconds; hops are relative to the shortest."""
        self._lengths, self._cfg = lengths, cfg
        self._frames: collections.deque[tuple[float, np.ndarray]] = collections.deque()
        self._next = 0.0
        self.hop = min(lengths) / hops_per_window
        self.num_lengths = len(lengths)

    def __len__(self) -> int:
        """Number of buffered frames."""
        return len(self._frames)

    def push(self, seconds: float, frame: np.ndarray) -> None:
        """Add a frame `(height, width, 3)` uint8 RGB; `seconds` must not decrease."""
        if self._frames and seconds < self._frames[-1][0] + MIN_INTERVAL - TIME_TOLERANCE:
            return
        if not self._frames:
            self._next = seconds + min(self._lengths)
        self._frames.append((seconds, center_view(frame, self._cfg)))
        while self._frames[0][0] < seconds - max(self._lengths) - TIME_TOLERANCE:
            self._frames.popleft()

    def pop_ready(self) -> list[Window]:
        """Windows that end at the newest frame, if a hop is due; otherwise none."""
        if not self._frames or self._frames[-1][0] < self._next - TIME_TOLERANCE:
            return []
        now = self._frames[-1][0]
        # Hops that were missed are skipped, not repeated.
        self._next = max(self._next + self.hop, now)
        windows = [self._window(now, length) for length in self._lengths]
        return [window for window in windows if window is not None]

    def _window(self, now: float, length: float) -> Window | None:
        frames = [frame for frame in self._frames if frame[0] >= now - length - TIME_TOLERANCE]
        if now - frames[0][0] < MIN_COVERAGE * length:
            return None
        chosen = choose_frames(len(frames), self._cfg, "test")
        return Window(frames[0][0], now, np.stack([frames[index][1] for index in chosen]))
