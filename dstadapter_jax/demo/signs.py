"""Rendering of a small signed vocabulary as mp4 files: eight signs with three reversed pairs.

A sign is a path of both hands through key poses; its reverse follows the path from the end. All
variation (holds at both ends, easing, jitter, sway, noise) is distributed symmetrically in time.
The unordered frames of a sign therefore contain no information that separates it from its reverse.
Positions are in body units, see `signer`.
"""

import csv
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from tqdm import tqdm

from dstadapter_jax.demo.signer import Painter, Point, Signer

FPS = 25
# For 16 k + 1 frames, the eight frames sampled in training and in testing lie symmetrically in
# time; for other lengths they lie nearer to the start, which would reveal the direction.
LENGTHS = (17, 33, 49)
SPLITS = ("train",) * 6 + ("validation",) + ("test",) * 3  # by signer

REST = (1.1, 2.3)  # position of an idle hand


@dataclasses.dataclass(frozen=True)
class Sign:
    """Key poses, each the position of the dominant and the other hand, and the hand shape."""

    poses: tuple[tuple[Point, Point], ...]
    shape: str  # "flat" or "fist"

    def reverse(self) -> Self:
        """Sign with the same path in the opposite direction."""
        return dataclasses.replace(self, poses=self.poses[::-1])


def _one_handed(shape: str, *points: Point) -> Sign:
    return Sign(tuple((point, REST) for point in points), shape)


RAISE = _one_handed("flat", (1.2, 1.5), (1.5, 0.2), (1.1, -1.5))
OPEN = Sign((((0.2, 0.5), (0.2, 0.5)), ((1.1, 0.2), (1.1, 0.2)), ((2.1, 0.4), (2.1, 0.4))), "flat")
GIVE = _one_handed("fist", (0.0, -0.5), (1.1, 0.2), (2.1, 1.2))
SIGNS = {
    "raise": RAISE,
    "lower": RAISE.reverse(),
    "open": OPEN,
    "close": OPEN.reverse(),
    "give": GIVE,
    "take": GIVE.reverse(),
    "wave": _one_handed("flat", *[(1.9, -1.0), (0.9, -1.2)] * 2, (1.9, -1.0)),
    "drum": Sign(
        (*[((0.7, 1.3), (0.7, 0.3)), ((0.7, 0.3), (0.7, 1.3))] * 2, ((0.7, 1.3), (0.7, 0.3))),
        "fist",
    ),
}
REVERSED = {"raise": "lower", "open": "close", "give": "take"}


@dataclasses.dataclass(frozen=True)
class Take:
    """Variation of one performance of a sign."""

    frames: int
    holds: tuple[float, float]  # shares of the clip at rest in the first and in the last pose
    easing: float  # in [-1, 1]: slow or fast in the middle
    jitter: np.ndarray  # (poses, 2, 2), added to the key poses

    @classmethod
    def draw(cls, sign: Sign, signer: Signer, rng: np.random.Generator) -> Self:
        """Draw a random take of `sign` at the signer's pace."""
        return cls(
            frames=int(rng.choice(LENGTHS, p=signer.pace)),
            holds=(rng.uniform(0, 0.2), rng.uniform(0, 0.2)),
            easing=rng.uniform(-0.7, 0.7),
            jitter=rng.normal(0, 0.1, (len(sign.poses), 2, 2)),
        )


def trajectory(sign: Sign, take: Take) -> np.ndarray:
    """Positions of both hands in every frame, `(frames, 2, 2)` as (frame, hand, xy)."""
    start, end = take.holds
    time = np.linspace(0, 1, take.frames)
    phase = np.clip((time - start) / (1 - start - end), 0, 1)
    phase = phase + take.easing * np.sin(2 * np.pi * phase) / (2 * np.pi)
    keys = (np.array(sign.poses) + take.jitter).reshape(len(sign.poses), 4)
    knots = np.linspace(0, 1, len(keys))
    hands = np.stack([np.interp(phase, knots, key) for key in keys.T], axis=-1)
    return hands.reshape(take.frames, 2, 2)


def draw_clip(signer: Signer, sign: Sign, rng: np.random.Generator) -> np.ndarray:
    """Draw a random take: `(frames, signer.SIZE, signer.SIZE, 3)` uint8 RGB."""
    painter = Painter(signer, rng)
    hands = trajectory(sign, Take.draw(sign, signer, rng))
    return np.stack([painter.frame(pair, sign.shape, rng) for pair in hands])


def write_mp4(path: Path, frames: np.ndarray) -> None:
    """Write `(frames, height, width, 3)` uint8 RGB as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "20"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # otherwise the file depends on the machine
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _render(job: tuple[Path, Signer, Sign, tuple[int, ...]]) -> None:
    path, signer, sign, key = job
    write_mp4(path, draw_clip(signer, sign, np.random.default_rng(key)))


def render_vocabulary(out_dir: Path, *, takes: int = 6, seed: int = 0) -> Path:
    """Render every sign by every signer as mp4 files, and list them in a CSV file.

    Args:
        out_dir: Folder for `SIGN/signer_take.mp4` and `recordings.csv`; created if missing.
        takes: Number of performances of each sign by each signer.
        seed: Seed of all random variation.

    Returns:
        Path of `recordings.csv` with the columns `path` (relative to `out_dir`), `label`, `signer`
        and `split`.
    """
    rows, jobs = [], []
    for number, split in enumerate(SPLITS):
        signer = Signer.draw(np.random.default_rng((seed, number)))
        for label in SIGNS:
            for take in range(takes):
                path = f"{label}/signer{number}_{take}.mp4"
                rows.append((path, label, f"signer{number}", split))
                key = (seed, number, list(SIGNS).index(label), take)
                jobs.append((out_dir / path, signer, SIGNS[label], key))
    for label in SIGNS:
        (out_dir / label).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(tqdm(pool.map(_render, jobs), "rendering", len(jobs), unit="clip", disable=None))
    with (out_dir / "recordings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "signer", "split"), *rows])
    return out_dir / "recordings.csv"
