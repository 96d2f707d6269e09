"""A user's folder of recordings: a CSV, or folders that are named as their labels."""

import os
from pathlib import Path

from tfds_builders.archives import unpack_hint
from tfds_builders.recordings import layout as layouts
from tfds_builders.recordings.contents import Recordings
from tfds_builders.recordings.folders import has_labels, has_video_suffix, read_folder, visible
from tfds_builders.recordings.listed import read_listed
from tfds_builders.recordings.table import find_tables, lists_recordings
from tfds_builders.sources import SourceError, files_below


def find(folder: Path, encoding: str = "") -> Path:
    """The folder of the recordings: `folder`, the only folder in it, or the one above it."""
    if find_tables(folder, encoding):
        return folder
    return _only_subfolder(folder, encoding) or _folder_of_table(folder, encoding) or folder


def _only_subfolder(folder: Path, encoding: str) -> Path | None:
    """The only folder in `folder`, such as an archive's, if it has a table or labels."""
    entries = visible(folder)
    subfolders = [path for path in entries if path.is_dir()]
    if len(subfolders) != 1 or any(map(has_video_suffix, entries)):
        return None
    (inner,) = subfolders
    return inner if find_tables(inner, encoding) or has_labels(inner) else None


def _folder_of_table(folder: Path, encoding: str) -> Path | None:
    """The folder above videos, if a table there lists recordings; its other files are not read."""
    if not any(map(has_video_suffix, visible(folder))):
        return None
    above = Path(os.path.abspath(folder)).parent
    tables = find_tables(above, encoding)
    return above if any(lists_recordings(table, encoding) for table in tables) else None


def read(folder: Path, layout: str = "", encoding: str = "") -> Recordings:
    """Read the recordings in `folder`, from the table in it or else from its subfolders.

    Args:
        folder: The folder.
        layout: `--layout`; '' to use the table or find out the levels of folders.
        encoding: Encoding of the table; '' for UTF-8 or UTF-16.

    Raises:
        SourceError: The recordings have problems, all of which are listed.
    """
    tables = [] if layout else find_tables(folder, encoding)
    if len(tables) > 1:
        names = [path.name for path in tables]
        raise SourceError(str(folder), names, "Expected at most one table: remove the others.")
    if tables:
        recordings = read_listed(tables[0], encoding)
    else:
        recordings = read_folder(folder, layouts.parse(layout) if layout else None)
    if not recordings.clips and not recordings.missing:
        hint = unpack_hint(files_below(folder), where="")
        raise SourceError(
            str(tables[0] if tables else folder),
            ["no clips found"],
            "Expected videos as LABEL/clip.mp4, or a table with the columns "
            f"path,label[,signer][,split][,start,end].\n{hint}".rstrip(),
        )
    return recordings
