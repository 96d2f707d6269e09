"""The stored form of a clip, in two storages, which are builder configs.

`original` stores a file's bytes, which are decoded in training. `frames` stores every frame as a
small JPEG, so that training decodes the sampled frames only.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from dstadapter_jax.data.video import reader as video
from dstadapter_jax.data.video.pictures import pack_folder

FILE_FORMAT = "array_record"  # the format of TFDS that is read and written without TensorFlow
SHORT_SIDE = 256  # pixels; training resizes to it anyway
JPEG_QUALITY = 95
TIME_PRECISION = 0.001  # seconds, to which WebM and users round times
MAX_ROUNDING = 1.0  # seconds by which a listed end may be after the last frame
MAX_FRAMES = 10_000  # a clip is one record and is held in memory

STORAGES = {
    "frames": f"Every frame as JPEG of quality {JPEG_QUALITY}, short side <= {SHORT_SIDE}.",
    "original": "The video files, byte for byte; folders of pictures as ZIP archives.",
}

Example = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video file, or a segment of one, that shows one sign.

    Attributes:
        id: Name that is unique in the dataset.
        path: The file.
        label: Name of the sign.
        signer: Name of the signer; '' where unknown.
        segment: First and last frame of the sign, from 0; None for the whole file. A last frame of
            None is the file's.
        seconds: Start and end of the sign since the first frame, instead of `segment`; the frame at
            the end is excluded. An end of None is the file's.
    """

    id: str
    path: Path
    label: str
    signer: str = ""
    segment: tuple[int, int | None] | None = None
    seconds: tuple[float, float | None] | None = None


def features(storage: str, labels: Sequence[str] | None = None) -> tfds.features.FeaturesDict:
    """The schema of a stored clip.

    Args:
        storage: `frames` or `original`.
        labels: Label names in the order of their ids; None if the builder sets `names` of the
            feature `label` later, from the data.

    Where a file shows more than the sign, the storage `frames` keeps the sign only; `original` has
    its place in `first_frame` and `num_frames`.
    """
    text, scalar = tfds.features.Text, tfds.features.Scalar
    if storage == "frames":
        # Text is TFDS's feature for bytes of any length; a Sequence is read as a list of bytes.
        pixels = {"frames": tfds.features.Sequence(text(), doc="JPEG files, in order of display.")}
    else:
        pixels = {
            "video": text(doc="The video file's bytes."),
            "first_frame": scalar(np.int32, doc="First frame of the sign, from 0."),
        }
    return tfds.features.FeaturesDict(
        {
            "id": text(doc="Unique name of the clip."),
            **pixels,
            "label": tfds.features.ClassLabel(names=labels, doc="The sign."),
            "signer": text(doc="Name of the signer; empty where unknown."),
            "num_frames": scalar(np.int32, doc="Frames that show the sign."),
            "fps": scalar(np.float32, doc="Mean frames per second."),
            "height": scalar(np.int32, doc="Pixels of the original, shown upright."),
            "width": scalar(np.int32, doc="Pixels of the original, shown upright."),
        }
    )


def encode_clip(clip: Clip, storage: str) -> Example:
    """Decode the whole clip and return its example, with the schema `features(storage)`.

    The storage `original` decodes, too, so that a damaged file is found before training.

    Raises:
        video.ClipError: The file can't be read or decoded, or has no frames.
    """
    pixels: Example
    if storage == "frames":
        jpegs: list[bytes] = []
        info, sign = decode_clip(clip, clip.path, lambda x: jpegs.append(encode_jpeg(shrink(x))))
        pixels = {"frames": jpegs}
    else:
        content = read_content(clip)
        info, sign = decode_clip(clip, content)
        pixels = {"video": content, "first_frame": sign.start}
    return {
        "id": clip.id,
        **pixels,
        "label": clip.label,
        "signer": clip.signer,
        "num_frames": len(sign),
        "fps": info.fps,
        "height": info.height,
        "width": info.width,
    }


def read_content(clip: Clip) -> bytes:
    """The bytes of a clip's file; a folder of pictures as a ZIP archive.

    Raises:
        video.ClipError: The file can't be read.
    """
    try:
        return pack_folder(clip.path) if clip.path.is_dir() else clip.path.read_bytes()
    except OSError as error:
        raise video.ClipError(clip.id, error.strerror or str(error)) from error


def decode_clip(
    clip: Clip, source: video.VideoSource, on_frame: Callable[[np.ndarray], Any] | None = None
) -> tuple[video.VideoInfo, range]:
    """Decode a clip as a build does, with one frame in memory.

    Args:
        clip: The clip.
        source: Path or bytes of its file. Of a path, frames long before the sign may be skipped.
        on_frame: Called with each frame of the sign, `(H, W, 3)` uint8 RGB.

    Returns:
        Properties of the file, and the range of the sign's frames, from the first decoded frame.

    Raises:
        video.ClipError: The clip can't be stored.
    """
    start, end = clip.seconds or (0.0, None)
    first, last = clip.segment or (0, None)
    sign, index, seconds = range(0), 0, 0.0
    with video.open_frames(
        source, name=clip.id, start=0.0 if isinstance(source, bytes) else start
    ) as frames:
        for index, frame in enumerate(frames):
            seconds = index / video.DEFAULT_FPS if frame.seconds is None else frame.seconds
            seconds += TIME_PRECISION / 2
            if end is not None and seconds >= end:
                break
            video.check_num_frames(clip.id, index + 1, MAX_FRAMES)
            if index < first or (last is not None and index > last) or seconds < start:
                continue
            sign = range(sign.start if sign else index, index + 1)
            if on_frame:
                on_frame(frame.pixels())
        else:  # no break: the file was decoded to its end
            _check_end(clip, index + 1, seconds)
        if not sign:
            raise video.ClipError(clip.id, "no frame is shown between the sign's start and end")
        return frames.info(), sign


def _check_end(clip: Clip, num_frames: int, seconds: float) -> None:
    """Raise ClipError if a file of some frames, the last one at some seconds, ends too early."""
    first, last = clip.segment or (0, None)
    # A last frame that equals the number of frames was counted from 1 or is exclusive.
    if first >= num_frames or (last or 0) > num_frames:
        listed = f"from frame {first}" if last is None else f"in frames {first} to {last}"
        reason = f"has {num_frames} frames, but the sign is listed {listed}"
        raise video.ClipError(clip.id, reason)
    start, end = clip.seconds or (0.0, None)
    if start > seconds or (end or 0.0) > seconds + MAX_ROUNDING:
        listed = f"from {start:g}" + ("" if end is None else f" to {end:g}")
        reason = f"ends at {seconds:.1f} seconds, but the sign is listed {listed} seconds"
        raise video.ClipError(clip.id, reason)


def shrink(frame: np.ndarray) -> np.ndarray:
    """Resize `(H, W, 3)` to a short side of `SHORT_SIDE`; smaller frames are unchanged."""
    height, width = frame.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    if scale >= 1:
        return frame
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    return cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)


def encode_jpeg(frame: np.ndarray) -> bytes:
    """Encode an RGB frame, `(H, W, 3)` uint8, as JPEG; empty if it is too large for JPEG."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes()


def split_metadata(splits: Mapping[str, Sequence[Clip]], labels: Collection[str]) -> dict[str, Any]:
    """Entries of `metadata.json` about the splits.

    Args:
        splits: Stored clips of each split.
        labels: Names of all labels.

    Returns:
        `signers`: known signers of each split. `missing_labels`: labels without a clip in a split.
    """
    labels = set(labels)
    return {
        "signers": {s: sorted({c.signer for c in clips} - {""}) for s, clips in splits.items()},
        "missing_labels": {s: sorted(labels - {c.label for c in cs}) for s, cs in splits.items()},
    }
