"""Windows that slide over a stream: at every tick several lengths, all ending at the newest frame.

Each is to the network what a whole clip is: every frame is resized and cropped by `preprocess`, and
the frames of a window are chosen as of a clip that begins and ends with it. Times are when a frame
is shown: a window, as a clip, lasts from its first frame to its last.
"""

import collections
from typing import NamedTuple

import numpy as np

from dstadapter_jax.data.preprocess import PreprocessConfig, center_view, choose_frames

TICKS_A_WINDOW = 8  # in the time of the shortest window: one of them shows a sign nearly as it is
FILLED = 0.9  # of a window's length must lie between its frames, which come at times of their own
ROUNDING = 1e-6  # seconds
MIN_INTERVAL = 1 / 250  # seconds between frames that are kept: memory is bounded whatever comes


class Window(NamedTuple):
    """A stretch of a stream as the network gets it.

    Attributes:
        start: Seconds, when its first frame is shown.
        end: Seconds, when its last one is.
        view: `(T, R, R, 3)` uint8, the center crop.
    """

    start: float
    end: float
    view: np.ndarray


class SlidingWindows:
    """Keeps what the longest window shows, and no more.

    Attributes:
        tick: Seconds from one set of windows to the next, on average.
        num_lengths: Windows in a set, once the stream is as long as the longest.
    """

    def __init__(
        self, lengths: tuple[float, ...], cfg: PreprocessConfig, ticks: int = TICKS_A_WINDOW
    ):
        """Windows of these lengths, seconds; `ticks` sets of them in the time of the shortest."""
        self._lengths, self._cfg = lengths, cfg
        self._frames: collections.deque[tuple[float, np.ndarray]] = collections.deque()
        self._next = 0.0
        self.tick = min(lengths) / ticks
        self.num_lengths = len(lengths)

    def __len__(self) -> int:
        """Frames that are kept."""
        return len(self._frames)

    def push(self, seconds: float, frame: np.ndarray) -> None:
        """Takes the next frame, `(height, width, 3)` uint8 RGB; `seconds` never go back."""
        if self._frames and seconds < self._frames[-1][0] + MIN_INTERVAL - ROUNDING:
            return
        if not self._frames:
            self._next = seconds + min(self._lengths)
        self._frames.append((seconds, center_view(frame, self._cfg)))
        while self._frames[0][0] < seconds - max(self._lengths) - ROUNDING:
            self._frames.popleft()

    def due(self) -> list[Window]:
        """The windows that end at the newest frame, if it is time for them; else none."""
        if not self._frames or self._frames[-1][0] < self._next - ROUNDING:
            return []
        now = self._frames[-1][0]
        # What couldn't be computed in time is left out, and not made up for.
        self._next = max(self._next + self.tick, now)
        windows = [self._window(now, length) for length in self._lengths]
        return [window for window in windows if window is not None]

    def _window(self, now: float, length: float) -> Window | None:
        frames = [frame for frame in self._frames if frame[0] >= now - length - ROUNDING]
        if now - frames[0][0] < FILLED * length:
            return None
        chosen = choose_frames(len(frames), self._cfg, "test")
        return Window(frames[0][0], now, np.stack([frames[index][1] for index in chosen]))
