"""Streams of which one knows what they show: a dataset's clips in a row, with gaps between them.

In a gap the signer does nothing: a piece of footage of that, if there is some, or else the clip
before is held at its last frame and the one behind it at its first.
"""

import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dstadapter_jax.data.clip_dataset import Example
from dstadapter_jax.data.loader import FrameReader, decode_text
from dstadapter_jax.data.preprocess import PreprocessConfig, center_view
from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from dstadapter_jax.data.video.reader import DEFAULT_FPS, iter_frames, probe_whole
from dstadapter_jax.spotting.sources import Frame

GAP_SECONDS = (1.0, 2.5)  # shortest and longest
MAX_BACKGROUND_FRAMES = 10_000  # of all footage; 1.5 GB at the network's size
AT_ONCE = 64  # frames of a clip that are held at their own size


class Annotation(NamedTuple):
    """A sign in a stream, with the seconds at which its first and its last frame are shown."""

    label: int
    start: float
    end: float


class Footage(NamedTuple):
    """Frames `(N, R, R, 3)` uint8 RGB at the network's size, and how many of them a second."""

    fps: float
    frames: np.ndarray


class BackgroundFootage:
    """Footage of people who don't sign: `FOLDER/SIGNER/….mp4`, or `FOLDER/….mp4` for everyone."""

    def __init__(self, folder: pathlib.Path | None, cfg: PreprocessConfig):
        """Reads all of a folder; of none, nothing.

        Raises:
            ValueError: There is no video in it, or too much.
            ClipError: One can't be read.
        """
        self._takes: dict[str, list[Footage]] = {}
        self._frames = 0
        if folder is None:
            return
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
        if not paths:
            raise ValueError(
                f"--idle {folder}: expected videos of people who don't sign, in folders named as"
                " the signers or in none, found no video."
            )
        for path in tqdm(paths, "idle", unit="video", disable=None, leave=False):
            signer = "" if path.parent == folder else path.parent.name
            self._takes.setdefault(signer, []).append(self._read(path, cfg))

    def _read(self, path: pathlib.Path, cfg: PreprocessConfig) -> Footage:
        info = probe_whole(path)
        self._frames += info.num_frames
        if self._frames > MAX_BACKGROUND_FRAMES:
            raise ValueError(
                f"--idle: {path}: expected {MAX_BACKGROUND_FRAMES} frames at most in all videos,"
                f" found {self._frames}. A few seconds of each signer are enough."
            )
        frames = np.stack([center_view(frame, cfg) for frame in iter_frames(path)])
        return Footage(info.fps or DEFAULT_FPS, frames)

    def piece(self, signer: str, seconds: float, rng: np.random.Generator) -> Footage | None:
        """Some seconds of it, at most: of that signer, or else of nobody's, or else of anyone."""
        takes = self._takes.get(signer) or self._takes.get("")
        takes = takes or [take for each in self._takes.values() for take in each]
        if not takes:
            return None
        take = takes[rng.integers(len(takes))]
        count = round(seconds * take.fps)
        first = rng.integers(max(len(take.frames) - count, 0) + 1)
        return Footage(take.fps, take.frames[first : first + count])


class ComposedStream:
    """A stream of a split's clips.

    Attributes:
        shown: The signs of what was iterated over so far.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        decoder: str,
        cfg: PreprocessConfig,
        idle: BackgroundFootage,
        seed: int,
    ):
        """Of clips as `ClipDataset.source` gives them, in gaps of lengths drawn from the seed."""
        self._examples, self._decoder, self._cfg, self._idle = examples, decoder, cfg, idle
        self._rng = np.random.default_rng(seed)
        self._now = 0.0
        self.shown: list[Annotation] = []

    def __iter__(self) -> Iterator[Frame]:
        """Frames at the network's size."""
        last: Footage | None = None
        for example in self._examples:
            clip = self._read(example)
            seconds = self._rng.uniform(*GAP_SECONDS)
            gap = self._idle.piece(decode_text(example["signer"]), seconds, self._rng)
            for footage in [gap] if gap else _held(last, clip, seconds):
                yield from self._timed(footage)
            start = self._now
            yield from self._timed(clip)
            self.shown.append(Annotation(int(example["label"]), start, self._now - 1 / clip.fps))
            last = clip

    def _read(self, example: Example) -> Footage:
        read, total = FrameReader(example, self._decoder), int(example["num_frames"])
        parts = np.array_split(np.arange(total), math.ceil(total / AT_ONCE))
        frames = [center_view(frame, self._cfg) for part in parts for frame in read(part)]
        return Footage(float(example["fps"]) or DEFAULT_FPS, np.stack(frames))

    def _timed(self, footage: Footage) -> Iterator[Frame]:
        for frame in footage.frames:
            yield Frame(self._now, frame)
            self._now += 1 / footage.fps


def _held(last: Footage | None, clip: Footage, seconds: float) -> list[Footage]:
    """The clip before at its last frame and the next one at its first, for half the time each."""
    ends = [(clip.fps, clip.frames[:1])]
    if last:
        ends.insert(0, (last.fps, last.frames[-1:]))
    return [Footage(fps, frame.repeat(round(seconds / 2 * fps), axis=0)) for fps, frame in ends]
