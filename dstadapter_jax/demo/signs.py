"""Renders a small signed vocabulary as mp4 files: a drawn figure, three signs and their reverses.

A sign is a path of the two hands through key poses; the reverse of a sign walks the same path from
its end. All that varies (holds at both ends, easing, jitter, sway, noise) is distributed alike
under time reversal, so that the frames of a sign and of its reverse, taken without their order, say
nothing on which of the two it is. Places are in the body's units, see `figure`.
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

from dstadapter_jax.demo.figure import Painter, Point, Signer

FPS = 25
# For 16 k + 1 frames the eight frames that training draws and those that testing takes lie
# symmetrically in time; for other lengths they lean to the start, which could tell a direction.
LENGTHS = (17, 33, 49)
SPLITS = ("train",) * 6 + ("validation",) + ("test",) * 3  # of each signer

REST = (1.1, 2.3)  # where a hand hangs that takes no part


@dataclasses.dataclass(frozen=True)
class Sign:
    """Key poses, each the place of the dominant and of the other hand, and the hands' shape."""

    poses: tuple[tuple[Point, Point], ...]
    shape: str  # "flat" or "fist"

    def reverse(self) -> Self:
        """The same path from its end to its start."""
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
    """What differs from one performance of a sign to the next."""

    frames: int
    holds: tuple[float, float]  # shares of the clip that rest at the first and at the last pose
    easing: float  # in [-1, 1]: slow or fast in the middle
    jitter: np.ndarray  # (poses, 2, 2), added to the key poses

    @classmethod
    def draw(cls, sign: Sign, signer: Signer, rng: np.random.Generator) -> Self:
        """Draws a take of `sign` at the signer's pace."""
        return cls(
            frames=int(rng.choice(LENGTHS, p=signer.pace)),
            holds=(rng.uniform(0, 0.2), rng.uniform(0, 0.2)),
            easing=rng.uniform(-0.7, 0.7),
            jitter=rng.normal(0, 0.1, (len(sign.poses), 2, 2)),
        )


def trajectory(sign: Sign, take: Take) -> np.ndarray:
    """Places of both hands in every frame, `(frames, 2, 2)` as (frame, hand, xy)."""
    start, end = take.holds
    time = np.linspace(0, 1, take.frames)
    phase = np.clip((time - start) / (1 - start - end), 0, 1)
    phase = phase + take.easing * np.sin(2 * np.pi * phase) / (2 * np.pi)
    keys = (np.array(sign.poses) + take.jitter).reshape(len(sign.poses), 4)
    knots = np.linspace(0, 1, len(keys))
    hands = np.stack([np.interp(phase, knots, key) for key in keys.T], axis=-1)
    return hands.reshape(take.frames, 2, 2)


def draw_clip(signer: Signer, sign: Sign, rng: np.random.Generator) -> np.ndarray:
    """Draws one take: `(frames, figure.SIZE, figure.SIZE, 3)` uint8 RGB."""
    painter = Painter(signer, rng)
    hands = trajectory(sign, Take.draw(sign, signer, rng))
    return np.stack([painter.frame(pair, sign.shape, rng) for pair in hands])


def write_mp4(path: Path, frames: np.ndarray) -> None:
    """Writes `(frames, height, width, 3)` uint8 RGB as H.264; one thread, so always the same."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "20"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _render(job: tuple[Path, Signer, Sign, tuple[int, ...]]) -> None:
    path, signer, sign, key = job
    write_mp4(path, draw_clip(signer, sign, np.random.default_rng(key)))


def _write_csv(path: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "signer", "split"), *rows])
    return path


def render_vocabulary(out_dir: Path, *, takes: int = 6, seed: int = 0) -> Path:
    """Renders every sign by every signer as mp4 files, with the list of them.

    Args:
        out_dir: Where to write `SIGN/signer_take.mp4` and `recordings.csv`; made if need be.
        takes: How often each signer performs each sign.
        seed: Of all that is drawn by chance.

    Returns:
        Path of `recordings.csv`: `path` (from `out_dir`), `label`, `signer`, `split`.
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
    return _write_csv(out_dir / "recordings.csv", rows)
