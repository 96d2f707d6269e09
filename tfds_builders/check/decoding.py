"""Decoding of all clips of a dataset, as in a build."""

import dataclasses
import hashlib

from tqdm import tqdm

from dstadapter_jax.data.video import reader as video
from tfds_builders.clip_examples import Clip, decode_clip, read_content
from tfds_builders.clip_shards import map_in_threads
from tfds_builders.listing import Listing

_UNKNOWN = video.VideoInfo(num_frames=0, fps=0, height=0, width=0, codec="", rotation=0)


@dataclasses.dataclass(frozen=True)
class CheckedClip:
    """A clip whose file was found.

    Attributes:
        split: `train`, `validation` or `test`.
        clip: The listed clip.
        reason: Why it can't be stored; '' if it can, and only then the following are set.
        info: Properties of the file.
        num_frames: Number of frames that show the sign.
        sha256: Hash of the file, in hexadecimal.
    """

    split: str
    clip: Clip
    reason: str = ""
    info: video.VideoInfo = _UNKNOWN
    num_frames: int = 0
    sha256: str = ""


def check_clips(listing: Listing) -> list[CheckedClip]:
    """Decode all clips on all cores, with one frame of each in memory."""
    found = [(split, clip) for split, clips in listing.found.items() for clip in clips]
    checked = map_in_threads(lambda item: check_clip(*item), found)
    return list(tqdm(checked, total=len(found), unit="clip", disable=None))


def check_clip(split: str, clip: Clip) -> CheckedClip:
    """Decode a whole clip and hash its file."""
    try:
        info, sign = decode_clip(clip, clip.path)
        sha256 = _sha256(clip)
    except video.ClipError as error:
        return CheckedClip(split, clip, error.reason)
    except OSError as error:
        return CheckedClip(split, clip, error.strerror or str(error))
    return CheckedClip(split, clip, "", info, len(sign), sha256)


def _sha256(clip: Clip) -> str:
    if clip.path.is_dir():
        return hashlib.sha256(read_content(clip)).hexdigest()
    with clip.path.open("rb") as file:  # in the system's cache after decoding
        return hashlib.file_digest(file, "sha256").hexdigest()
