"""A user's folder of recordings: a CSV, or folders that are named as their labels."""

import os
from pathlib import Path

from tfds_builders.archives import unpack_hint
from tfds_builders.recordings.contents import Recordings
from tfds_builders.recordings.folders import has_labels, is_video, read_folder, visible
from tfds_builders.recordings.listed import read_listed
from tfds_builders.recordings.table import find_tables, lists_recordings
from tfds_builders.sources import SourceError, files_below


def find(folder: Path) -> Path:
    """The folder of the recordings: `folder`, the only folder in it, or the one above it."""
    if find_tables(folder):
        return folder
    return _only_subfolder(folder) or _folder_of_csv(folder) or folder


def _only_subfolder(folder: Path) -> Path | None:
    """The only folder in `folder`, such as an archive's, if it has a CSV or labels."""
    entries = visible(folder)
    subfolders = [path for path in entries if path.is_dir()]
    if len(subfolders) != 1 or any(map(is_video, entries)):
        return None
    (inner,) = subfolders
    return inner if find_tables(inner) or has_labels(inner) else None


def _folder_of_csv(folder: Path) -> Path | None:
    """The folder above videos, if a CSV there lists recordings; its other files are not read."""
    if not any(map(is_video, visible(folder))):
        return None
    above = Path(os.path.abspath(folder)).parent
    return above if any(map(lists_recordings, find_tables(above))) else None


def read(folder: Path) -> Recordings:
    """Read the recordings in `folder`, from the CSV in it or else from its subfolders.

    Raises:
        SourceError: The recordings have problems, all of which are listed.
    """
    tables = find_tables(folder)
    if len(tables) > 1:
        names = [path.name for path in tables]
        raise SourceError(str(folder), names, "Expected at most one CSV: remove the others.")
    recordings = read_listed(tables[0]) if tables else read_folder(folder)
    if not recordings.clips:
        hint = unpack_hint(files_below(folder), where="")
        raise SourceError(
            str(tables[0] if tables else folder),
            ["no clips found"],
            "Expected videos as LABEL/clip.mp4, or a CSV with the columns "
            f"path,label[,signer][,split].\n{hint}".rstrip(),
        )
    return recordings
