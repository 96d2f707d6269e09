"""Streams of which one knows what they show: a dataset's clips in a row, with gaps between them.

In a gap the signer does nothing: a piece of footage of that, if there is some, or else the clip
before is held at its last frame and the one behind it at its first.
"""

import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dstadapter_jax.clip_dataset import Example
from dstadapter_jax.input_pipeline import FrameReader, describe
from dstadapter_jax.preprocess import PreprocessConfig, make_views
from dstadapter_jax.stream.sources import Frame
from dstadapter_jax.video import ClipError, iter_frames, probe

GAP_SECONDS = (1.0, 2.5)  # shortest and longest
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
DEFAULT_FPS = 25.0  # where a file doesn't tell
MAX_IDLE_FRAMES = 10_000  # of a video, as of clips


class Shown(NamedTuple):
    """A sign in a stream, with its beginning and end in seconds."""

    label: int
    start: float
    end: float


class Footage(NamedTuple):
    """Frames `(N, height, width, 3)` uint8 RGB, and how many of them a second."""

    fps: float
    frames: np.ndarray


class Idle:
    """Footage of people who don't sign: `FOLDER/SIGNER/….mp4`, or `FOLDER/….mp4` for everyone."""

    def __init__(self, folder: pathlib.Path | None, cfg: PreprocessConfig):
        """Reads all of a folder; of none, nothing.

        Raises:
            ValueError: There is no video in it.
            ClipError: One can't be read.
        """
        self._takes: dict[str, list[Footage]] = {}
        self._all: list[Footage] = []
        if folder is None:
            return
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS)
        if not paths:
            raise ValueError(
                f"--idle {folder}: expected videos of people who don't sign, {', '.join(VIDEOS)},"
                " in folders named as the signers or in none, found no video."
            )
        for path in tqdm(paths, "idle", unit="video", disable=None, leave=False):
            signer = "" if path.parent == folder else path.parent.name
            self._all.append(_read_idle(path, cfg))
            self._takes.setdefault(signer, []).append(self._all[-1])

    def piece(self, signer: str, seconds: float, rng: np.random.Generator) -> "Footage | None":
        """Some seconds of it, at most, of that signer if there are any."""
        takes = self._takes.get(signer) or self._takes.get("") or self._all
        if not takes:
            return None
        take = takes[rng.integers(len(takes))]
        count = round(seconds * take.fps)
        first = rng.integers(max(len(take.frames) - count, 0) + 1)
        return Footage(take.fps, take.frames[first : first + count])


def _read_idle(path: pathlib.Path, cfg: PreprocessConfig) -> Footage:
    info = probe(path)
    if info.num_frames > MAX_IDLE_FRAMES:
        raise ClipError(str(path), f"has more than {MAX_IDLE_FRAMES} frames: cut it into several")
    # At the network's size, to which nothing more is done then.
    frames = [make_views(frame[np.newaxis], cfg, "test", crops=1)[0] for frame in iter_frames(path)]
    return Footage(info.fps or DEFAULT_FPS, np.concatenate(frames)[:, 0])


class Composed:
    """A stream of a split's clips.

    Attributes:
        shown: The signs of what was iterated over so far.
    """

    def __init__(self, examples: Iterable[Example], decoder: str, idle: Idle, seed: int):
        """Of clips as `ClipDataset.source` gives them, in gaps of lengths drawn from the seed."""
        self._examples, self._decoder, self._idle = examples, decoder, idle
        self._rng = np.random.default_rng(seed)
        self._now = 0.0
        self.shown: list[Shown] = []

    def __iter__(self) -> Iterator[Frame]:
        """Frames with their times."""
        last: Footage | None = None
        for example in self._examples:
            clip = self._read(example)
            gap = self._idle.piece(_signer(example), self._rng.uniform(*GAP_SECONDS), self._rng)
            for footage in [gap] if gap else self._held(last, clip):
                yield from self._timed(footage)
            start = self._now
            yield from self._timed(clip)
            self.shown.append(Shown(int(example["label"]), start, self._now))
            last = clip

    def _read(self, example: Example) -> Footage:
        indices = np.arange(int(example["num_frames"]))
        frames = FrameReader(example, self._decoder)(indices)
        return Footage(float(example["fps"]) or DEFAULT_FPS, frames)

    def _held(self, last: Footage | None, clip: Footage) -> list[Footage]:
        seconds = self._rng.uniform(*GAP_SECONDS) / 2
        ends = [(clip.fps, clip.frames[:1])]
        if last:
            ends.insert(0, (last.fps, last.frames[-1:]))
        return [Footage(fps, frame.repeat(round(seconds * fps), axis=0)) for fps, frame in ends]

    def _timed(self, footage: Footage) -> Iterator[Frame]:
        for frame in footage.frames:
            yield self._now, frame
            self._now += 1 / footage.fps


def _signer(example: Example) -> str:
    return describe(example, np.zeros(0))["signer"]
