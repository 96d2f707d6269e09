"""Windows that slide over a stream: at every tick several lengths, all ending at the newest frame.

Each is to the network what a whole clip is: `preprocess` resizes and crops every frame when it
comes, and chooses the frames of a window as of a clip that begins and ends with it.
"""

import collections
from typing import NamedTuple

import numpy as np

from dstadapter_jax.preprocess import PreprocessConfig, choose_frames, make_views

TICKS_A_WINDOW = 8  # how often the shortest window moves before it shows nothing of what it did


class Window(NamedTuple):
    """A stretch of a stream as the network gets it.

    Attributes:
        start: Seconds, when its first frame is shown.
        end: Seconds, when its last one is.
        view: `(T, R, R, 3)` uint8, the centre crop.
    """

    start: float
    end: float
    view: np.ndarray


class SlidingWindows:
    """Keeps what the longest window shows, and no more.

    Attributes:
        tick: Seconds from one set of windows to the next.
        num_lengths: Windows in a set, once the stream is as long as the longest.
    """

    def __init__(
        self, lengths: tuple[float, ...], cfg: PreprocessConfig, ticks: int = TICKS_A_WINDOW
    ):
        """Windows of these lengths, seconds; `ticks` while the shortest moves by its own."""
        self._lengths, self._cfg = lengths, cfg
        self._frames: collections.deque[tuple[float, np.ndarray]] = collections.deque()
        self._next = 0.0
        self.tick = min(lengths) / ticks
        self.num_lengths = len(lengths)

    def push(self, seconds: float, frame: np.ndarray) -> None:
        """Takes the next frame, `(height, width, 3)` uint8 RGB; `seconds` never go back."""
        views, _ = make_views(frame[np.newaxis], self._cfg, "test", crops=1)
        if not self._frames:
            self._next = seconds + min(self._lengths)
        self._frames.append((seconds, views[0, 0]))
        while self._frames[0][0] < seconds - max(self._lengths):
            self._frames.popleft()

    def due(self) -> list[Window]:
        """The windows that end at the newest frame, if it is time for them; else none."""
        if not self._frames or self._frames[-1][0] < self._next:
            return []
        now = self._frames[-1][0]
        # From now and not from when it was due: what couldn't be computed in time is left out.
        self._next = now + self.tick
        return [self._window(now, length) for length in self._lengths if self._reaches(now, length)]

    def _reaches(self, now: float, length: float) -> bool:
        return now - self._frames[0][0] >= 0.9 * length

    def _window(self, now: float, length: float) -> Window:
        frames = [frame for frame in self._frames if frame[0] >= now - length]
        chosen = choose_frames(len(frames), self._cfg, "test")
        return Window(frames[0][0], now, np.stack([frames[index][1] for index in chosen]))
