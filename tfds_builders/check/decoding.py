"""Decodes every clip of a dataset, as building it would."""

import dataclasses
import hashlib

from tqdm import tqdm

from dstadapter_jax.data.video import reader as video
from tfds_builders.clip_examples import Clip, decode_whole
from tfds_builders.clip_shards import map_in_threads
from tfds_builders.listing import Listing

_NOTHING = video.VideoInfo(num_frames=0, fps=0, height=0, width=0, codec="", rotation=0)


@dataclasses.dataclass(frozen=True)
class CheckedClip:
    """A clip whose file is there.

    Attributes:
      split: `train`, `validation` or `test`.
      clip: as the lists name it.
      reason: why no dataset can hold it; '' if it can, and only then the others say something.
      info: what the file holds.
      num_frames: frames that show the sign.
      sha256: of the file, in hexadecimal.
    """

    split: str
    clip: Clip
    reason: str = ""
    info: video.VideoInfo = _NOTHING
    num_frames: int = 0
    sha256: str = ""


def check_clips(listing: Listing) -> list[CheckedClip]:
    """Decodes all clips found, on all cores; holds a frame of each that it is at, no more."""
    found = [(split, clip) for split, clips in listing.found.items() for clip in clips]
    checked = map_in_threads(lambda item: check_clip(*item), found)
    return list(tqdm(checked, total=len(found), unit="clip", disable=None))


def check_clip(split: str, clip: Clip) -> CheckedClip:
    """Decodes one clip whole and hashes its file."""
    try:
        info, sign = decode_whole(clip, clip.path)
        with clip.path.open("rb") as file:  # just read: it comes out of the system's cache
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except video.ClipError as error:
        return CheckedClip(split, clip, error.reason)
    except OSError as error:
        return CheckedClip(split, clip, error.strerror or str(error))
    return CheckedClip(split, clip, "", info, len(sign), sha256)
