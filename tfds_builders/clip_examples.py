"""What every dataset here stores of a clip.

A dataset has two storages, as builder configs. `original` keeps a file's bytes, which are decoded
while training. `frames` keeps every frame once, small and as JPEG, so that training decodes the
few frames it samples and no others.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from dstadapter_jax.data.video import reader as video

FILE_FORMAT = "array_record"  # the format of TFDS that is read and written without TensorFlow
SHORT_SIDE = 256  # training resizes to it anyway
JPEG_QUALITY = 95
# Minutes of video are no isolated sign; a clip is held in memory, and in one record, whole.
MAX_FRAMES = 10_000

STORAGES = {
    "frames": f"Every frame as JPEG of quality {JPEG_QUALITY}, short side <= {SHORT_SIDE}.",
    "original": "The video files, byte for byte.",
}

Example = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Clip:
    """One video file that shows one sign.

    Attributes:
      id: unique in the dataset.
      path: the file.
      label: name of the sign.
      signer: '' where it isn't known.
      segment: first and last frame of the sign; None where the file shows nothing else.
    """

    id: str
    path: Path
    label: str
    signer: str = ""
    segment: tuple[int, int] | None = None


def features(
    storage: str, labels: Sequence[str] | None = None, *, segmented: bool = False
) -> tfds.features.FeaturesDict:
    """The schema of one clip.

    Args:
      storage: `frames` or `original`.
      labels: label names in the order of their ids; None where only the data tells them, and
        the builder sets `names` of the feature `label` later.
      segmented: whether a file shows more than the sign. The `frames` storage keeps the sign
        alone; `original` tells in `first_frame` and `num_frames` where it is.
    """
    text, scalar = tfds.features.Text, tfds.features.Scalar
    if storage == "frames":
        # Text is TFDS's feature for bytes of any length and content; a Sequence of them is read
        # back as a list of bytes.
        pixels = {"frames": tfds.features.Sequence(text(), doc="JPEG files, in order of display.")}
    else:
        pixels = {"video": text(doc="The video file's bytes.")}
        if segmented:
            pixels["first_frame"] = scalar(np.int32, doc="Of the sign, in `video`; from 0.")
    return tfds.features.FeaturesDict(
        {
            "id": text(doc="Unique name of the clip."),
            **pixels,
            "label": tfds.features.ClassLabel(names=labels, doc="The sign."),
            "signer": text(doc="Who signs; empty where unknown."),
            "num_frames": scalar(np.int32, doc="Frames that show the sign."),
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
    if storage == "frames":
        info, sign = _describe(clip, source)
        decoded = enumerate(video.iter_frames(source, name=clip.id))
        jpegs = [encode_jpeg(shrink(frame)) if i in sign else b"" for i, frame in decoded]
        video.check_whole(clip.id, info, len(jpegs))
        pixels: Example = {"frames": jpegs[sign.start : sign.stop]}
    else:
        info, sign = decode_whole(clip, source)
        pixels = {"video": source}
        if clip.segment:
            pixels["first_frame"] = sign.start
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


def decode_whole(clip: Clip, source: video.VideoSource) -> tuple[video.VideoInfo, range]:
    """Puts a clip to the test that a build puts it to, and keeps no pixels.

    Args:
      clip: what `source` shows.
      source: its file's path or bytes.

    Returns:
      What the file holds, and which of its frames show the sign.

    Raises:
      video.ClipError: no dataset can hold the clip.
    """
    info, sign = _describe(clip, source)
    video.check_decodes(source, info, name=clip.id)
    return info, sign


def _describe(clip: Clip, source: video.VideoSource) -> tuple[video.VideoInfo, range]:
    """What can be told before the clip is decoded: too long a one never is."""
    info = video.probe(source, name=clip.id)
    if info.num_frames > MAX_FRAMES:
        reason = f"has {info.num_frames} frames, more than {MAX_FRAMES}: cut it to one sign"
        raise video.ClipError(clip.id, reason)
    return info, _frames_of_sign(clip, info.num_frames)


def _frames_of_sign(clip: Clip, num_frames: int) -> range:
    first, last = clip.segment or (0, num_frames - 1)
    # An end that is the number of frames is the last frame, counted from 1 or exclusively.
    if first >= num_frames or last > num_frames:
        reason = f"the sign is said to be in frames {first} to {last}, but there are {num_frames}"
        raise video.ClipError(clip.id, reason)
    return range(first, min(last + 1, num_frames))


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


def split_metadata(splits: Mapping[str, Sequence[Clip]], labels: Collection[str]) -> dict[str, Any]:
    """What `metadata.json` tells about the splits.

    Args:
      splits: the clips that each split holds.
      labels: names of all labels.

    Returns:
      `signers`, the known ones of each split; `missing_labels`, those that a
      split has no clip of.
    """
    labels = set(labels)
    return {
        "signers": {s: sorted({c.signer for c in clips} - {""}) for s, clips in splits.items()},
        "missing_labels": {s: sorted(labels - {c.label for c in cs}) for s, cs in splits.items()},
    }
