"""Synthetic annotated streams: clips of a dataset in a row, with gaps between them.

A gap shows background footage of the signer if there is some. Otherwise the previous clip is held
at its last frame and the next one at its first.
"""

import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dstadapter_jax.data.clip_dataset import Example
from dstadapter_jax.data.preprocess import PreprocessConfig, center_view
from dstadapter_jax.data.records import FrameReader, decode_text
from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from dstadapter_jax.data.video.reader import DEFAULT_FPS, iter_frames, probe
from dstadapter_jax.errors import UserError
from dstadapter_jax.spotting.sources import Frame

GAP_SECONDS = (1.0, 2.5)  # minimum and maximum
MAX_BACKGROUND_FRAMES = 10_000  # of all footage; 1.5 GB at the network's input size
FRAMES_PER_READ = 64  # frames of a clip held at their original size


class Annotation(NamedTuple):
    """A sign in a stream, with the times of its first and last frame in seconds."""

    label: int
    start: float
    end: float


class Footage(NamedTuple):
    """Frames `(N, R, R, 3)` uint8 RGB at the network's input size, and their rate."""

    fps: float
    frames: np.ndarray


class BackgroundFootage:
    """Footage of people who do not sign: `FOLDER/SIGNER/….mp4`, or `FOLDER/….mp4` for everyone."""

    def __init__(self, folder: pathlib.Path | None, cfg: PreprocessConfig):
        """Read all videos of a folder; None for no footage.

        Raises:
            UserError: The folder has no videos, or too much footage.
            ClipError: A video can't be read.
        """
        self._clips: dict[str, list[Footage]] = {}
        self._num_frames = 0
        if folder is None:
            return
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
        if not paths:
            raise UserError(
                f"--background_videos {folder}",
                expected="videos of people who do not sign, in folders named after the signers or"
                " in none",
                found="no video",
            )
        for path in tqdm(paths, "background", unit="video", disable=None, leave=False):
            signer = "" if path.parent == folder else path.parent.name
            self._clips.setdefault(signer, []).append(self._read(path, cfg))

    def _read(self, path: pathlib.Path, cfg: PreprocessConfig) -> Footage:
        info = probe(path, max_frames=MAX_BACKGROUND_FRAMES)
        self._num_frames += info.num_frames
        if self._num_frames > MAX_BACKGROUND_FRAMES:
            raise UserError(
                f"--background_videos: {path}",
                expected=f"at most {MAX_BACKGROUND_FRAMES} frames in all videos",
                found=self._num_frames,
                advice="A few seconds per signer are enough.",
            )
        frames = np.stack([center_view(frame, cfg) for frame in iter_frames(path)])
        return Footage(info.fps or DEFAULT_FPS, frames)

    def sample(self, signer: str, seconds: float, rng: np.random.Generator) -> Footage | None:
        """Sample at most `seconds` of footage of the signer.

        If there is none, of footage without a signer, or else of any signer.
        """
        clips = self._clips.get(signer) or self._clips.get("")
        clips = clips or [clip for each in self._clips.values() for clip in each]
        if not clips:
            return None
        clip = clips[rng.integers(len(clips))]
        count = round(seconds * clip.fps)
        first = rng.integers(max(len(clip.frames) - count, 0) + 1)
        return Footage(clip.fps, clip.frames[first : first + count])


class ComposedStream:
    """A stream of a split's clips.

    Attributes:
        annotations: Signs in the part that was iterated so far.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        decoder: str,
        cfg: PreprocessConfig,
        background: BackgroundFootage,
        seed: int,
    ):
        """Initialize with examples of `ClipDataset.source`; the seed determines the gaps."""
        self._examples, self._decoder, self._cfg = examples, decoder, cfg
        self._background = background
        self._rng = np.random.default_rng(seed)
        self._now = 0.0
        self.annotations: list[Annotation] = []

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames at the network's input size."""
        last: Footage | None = None
        for example in self._examples:
            clip = self._read(example)
            seconds = self._rng.uniform(*GAP_SECONDS)
            signer = decode_text(example["signer"])
            gap = self._background.sample(signer, seconds, self._rng)
            for footage in [gap] if gap else _held_frames(last, clip, seconds):
                yield from self._with_times(footage)
            start = self._now
            yield from self._with_times(clip)
            end = self._now - 1 / clip.fps
            self.annotations.append(Annotation(int(example["label"]), start, end))
            last = clip

    def _read(self, example: Example) -> Footage:
        read, total = FrameReader(example, self._decoder), int(example["num_frames"])
        parts = np.array_split(np.arange(total), math.ceil(total / FRAMES_PER_READ))
        frames = [center_view(frame, self._cfg) for part in parts for frame in read(part)]
        return Footage(float(example["fps"]) or DEFAULT_FPS, np.stack(frames))

    def _with_times(self, footage: Footage) -> Iterator[Frame]:
        for frame in footage.frames:
            yield Frame(self._now, frame)
            self._now += 1 / footage.fps


def _held_frames(last: Footage | None, clip: Footage, seconds: float) -> list[Footage]:
    """The last frame of the previous clip and the first of the next, each for half the time."""
    ends = [(clip.fps, clip.frames[:1])]
    if last:
        ends.insert(0, (last.fps, last.frames[-1:]))
    return [Footage(fps, frame.repeat(round(seconds / 2 * fps), axis=0)) for fps, frame in ends]
