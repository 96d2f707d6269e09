"""Files and folders that are clips: videos, and folders of numbered pictures."""

from collections.abc import Iterator
from pathlib import Path

from dstadapter_jax.data.video.container import VIDEO_SUFFIXES, ClipError
from dstadapter_jax.data.video.pictures import PICTURE_SUFFIXES, folder_pictures
from dstadapter_jax.data.video.reader import open_frames
from tfds_builders.sources import files_below

# Never videos, and common beside them: opening thousands of them would take long.
OTHER_SUFFIXES = {
    *(".csv", ".doc", ".docx", ".eaf", ".htm", ".html", ".json", ".log", ".md", ".mp3", ".npy"),
    *(".npz", ".pdf", ".pkl", ".py", ".srt", ".tsv", ".txt", ".vtt", ".wav", ".xls", ".xlsx"),
    *(".xml", ".yaml", ".yml"),
}


def find_clips(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the files below a folder with whether each is a clip; hidden files are passed over.

    A folder of two levels below or deeper that holds numbered pictures only, such as
    `LABEL/CLIP/00001.jpg`, is one clip, yielded in place of its files.
    """
    pictures: dict[Path, bool] = {}  # folder to whether it is a clip
    for path in files_below(folder):
        parent = path.parent
        if path.suffix.lower() in PICTURE_SUFFIXES and len(path.relative_to(folder).parts) > 2:
            if parent not in pictures:
                pictures[parent] = bool(folder_pictures(parent))
                if pictures[parent]:
                    yield parent, True
            if pictures[parent]:
                continue
        yield path, is_video(path)


def is_video(path: Path) -> bool:
    """Whether a file is a video: by its suffix, or, if that is unknown, by its first frame."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    if suffix in OTHER_SUFFIXES or suffix in PICTURE_SUFFIXES:
        return False
    try:
        with open_frames(path) as frames:
            return next(iter(frames), None) is not None
    except ClipError:
        return False
