"""What every dataset here stores of a clip, and how clips become ArrayRecord shards.

A dataset has two storages, as builder configs. `original` keeps a file's bytes, which are decoded
while training. `frames` keeps every frame once, small and as JPEG, so that training decodes the
few frames it samples and no others.
"""

import dataclasses
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from dstadapter_jax import video

FILE_FORMAT = "array_record"  # the format of TFDS that is read and written without TensorFlow
SHORT_SIDE = 256  # training resizes to it anyway
JPEG_QUALITY = 95
# Minutes of video are no isolated sign; a clip is held in memory, and in one record, whole.
MAX_FRAMES = 10_000
CLIPS_PER_SHARD = 256  # about 400 MB of frames

CONFIGS = [
    tfds.core.BuilderConfig(
        name="frames",
        description=f"Every frame as JPEG of quality {JPEG_QUALITY}, short side <= {SHORT_SIDE}.",
    ),
    tfds.core.BuilderConfig(name="original", description="The video files, byte for byte."),
]

Example = dict[str, Any]
Shard = Callable[[], Iterator[tuple[str, Example]]]  # yields each clip's id and example
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One video file that shows one sign. `signer` is '' where it isn't known."""

    id: str
    path: Path
    label: str
    signer: str = ""


class UnusableClipsError(ValueError):
    """Clips that can't be decoded: one error for all of a dataset's."""

    def __init__(self, reasons: Sequence[str]):
        lines = "\n".join(f"  {reason}" for reason in reasons)
        super().__init__(
            f"{len(reasons)} clip(s) can't be read, so nothing was built:\n{lines}\n"
            "Replace these files, or remove them (and their rows, if a CSV lists them)."
        )


def features(storage: str, labels: Sequence[str] | None = None) -> tfds.features.FeaturesDict:
    """The schema of one clip.

    Args:
      storage: `frames` or `original`.
      labels: label names in the order of their ids; None where only the data tells them, and
        the builder sets `names` of the feature `label` later.
    """
    text, scalar = tfds.features.Text, tfds.features.Scalar
    if storage == "frames":
        # Text is TFDS's feature for bytes of any length and content; a Sequence of them is read
        # back as a list of bytes.
        pixels = {"frames": tfds.features.Sequence(text(), doc="JPEG files, in order of display.")}
    else:
        pixels = {"video": text(doc="The video file's bytes.")}
    return tfds.features.FeaturesDict(
        {
            "id": text(doc="Unique name of the clip."),
            **pixels,
            "label": tfds.features.ClassLabel(names=labels, doc="The sign."),
            "signer": text(doc="Who signs; empty where unknown."),
            "num_frames": scalar(np.int32, doc="Frames that can be decoded."),
            "fps": scalar(np.float32, doc="Mean frames per second."),
            "height": scalar(np.int32, doc="Pixels, of the original shown upright."),
            "width": scalar(np.int32, doc="Pixels, of the original shown upright."),
        }
    )


def encode_clip(clip: Clip, storage: str) -> Example:
    """Decodes the whole clip and returns its example, as `features(storage)` describes it.

    The `original` storage decodes too: a file that breaks half-way has to be found now, not in
    the middle of a training run.

    Raises:
      video.ClipError: the file can't be read or decoded, or holds no frame.
    """
    try:
        source = clip.path if storage == "frames" else clip.path.read_bytes()
    except OSError as error:
        raise video.ClipError(clip.id, error.strerror or str(error)) from error
    info = video.probe(source, name=clip.id)
    if info.num_frames > MAX_FRAMES:
        reason = f"has {info.num_frames} frames, more than {MAX_FRAMES}: cut it to one sign"
        raise video.ClipError(clip.id, reason)
    if storage == "frames":
        decoded = video.iter_frames(source, name=clip.id)
        pixels: Example = {"frames": [encode_jpeg(shrink(frame)) for frame in decoded]}
        video.check_whole(clip.id, info, len(pixels["frames"]))
    else:
        pixels = {"video": source}
        video.probe_whole(source, name=clip.id)
    return {
        "id": clip.id,
        **pixels,
        "label": clip.label,
        "signer": clip.signer,
        "num_frames": info.num_frames,
        "fps": info.fps,
        "height": info.height,
        "width": info.width,
    }


def shrink(frame: np.ndarray) -> np.ndarray:
    """Resizes `(H, W, 3)` to a short side of `SHORT_SIDE`; a smaller frame is left as it is."""
    height, width = frame.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    if scale >= 1:
        return frame
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    return cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)


def encode_jpeg(frame: np.ndarray) -> bytes:
    """Returns the JPEG file of an RGB frame, `(H, W, 3)` uint8; empty if JPEG can't hold it."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes()


def split_metadata(splits: Mapping[str, Sequence[Clip]], method: str) -> dict[str, Any]:
    """What `metadata.json` tells about the splits.

    Args:
      splits: the clips of each split.
      method: in words, how the splits were made.

    Returns:
      `split_method`; `signers`, the known ones of each split; `missing_labels`, those that a
      split has no clip of.
    """
    labels = {clip.label for clips in splits.values() for clip in clips}
    return {
        "split_method": method,
        "signers": {s: sorted({c.signer for c in clips} - {""}) for s, clips in splits.items()},
        "missing_labels": {s: sorted(labels - {c.label for c in cs}) for s, cs in splits.items()},
    }


def shard_iterators(splits: Mapping[str, Sequence[Clip]], storage: str) -> dict[str, list[Shard]]:
    """Cuts each split into shards, for `tfds.core.ShardBasedBuilder`.

    Not for `GeneratorBasedBuilder`, whose shuffler holds up to 1 GB of a split in memory and
    then needs TensorFlow to go on. Clips stay in the order given: readers of ArrayRecord shuffle
    by index.

    Args:
      splits: the clips of each split.
      storage: `frames` or `original`.

    Returns:
      For each split one function a shard, to be called in order. The last one raises
      `UnusableClipsError` if any clip of the dataset can't be decoded.
    """
    bar = tqdm(total=sum(map(len, splits.values())), unit="clip", disable=None)
    unusable: list[str] = []
    shards: dict[str, list[Shard]] = {}
    for split, clips in splits.items():
        starts = range(0, len(clips), CLIPS_PER_SHARD)
        shards[split] = [
            partial(_examples, clips[start : start + CLIPS_PER_SHARD], storage, unusable, bar)
            for start in starts
        ]
    last = list(shards)[-1]
    shards[last][-1] = partial(_then_refuse, shards[last][-1], unusable, bar)
    return shards


def _examples(
    clips: Sequence[Clip], storage: str, unusable: list[str], bar: tqdm
) -> Iterator[tuple[str, Example]]:
    def encode(clip: Clip) -> Example | video.ClipError:
        try:
            return encode_clip(clip, storage)
        except video.ClipError as error:
            return error

    for clip, result in zip(clips, map_in_threads(encode, clips), strict=True):
        bar.update()
        if isinstance(result, video.ClipError):
            unusable.append(str(result))
            continue
        yield clip.id, result
        # TFDS keeps every example of a shard until the shard is written, only to count them;
        # this one is on disk by now.
        result.clear()


def _then_refuse(shard: Shard, unusable: list[str], bar: tqdm) -> Iterator[tuple[str, Example]]:
    """Goes on to the end before refusing, so that the error names every unusable clip."""
    yield from shard()
    bar.close()
    if unusable:
        raise UnusableClipsError(sorted(unusable))


def map_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[_Result]:
    """`map` in one thread a core, in order, holding a few more items than threads at most."""
    threads = os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads)
    tasks = (pool.submit(function, item) for item in items)
    try:
        pending = deque(itertools.islice(tasks, threads + 2))
        while pending:
            yield pending.popleft().result()
            pending.extend(itertools.islice(tasks, 1))
    finally:
        pool.shutdown(cancel_futures=True)
