"""Files that a table's paths mean, however they are spelled."""

import difflib
import functools
import os
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from dstadapter_jax.data.video.pictures import folder_pictures
from tfds_builders.recordings.clip_files import find_clips

MAX_HINTS = 20  # names of nearest files; each takes long in a large folder


class PathFinder:
    """Finds the clips of a folder by paths that may differ from their names.

    A path may have backslashes, other case, another Unicode form, another suffix or none, or be
    absolute, as long as one clip only fits.
    """

    def __init__(self, folder: Path):
        self._folder, self._hints_left = folder, MAX_HINTS

    def find(self, path: str) -> tuple[str, str]:
        """Find the clip of a path.

        Returns:
            Its path relative to the folder, and a problem; one of them is ''.
        """
        relative = self._relative(path)
        if relative is None:
            return "", f"path leaves the table's folder: {path}"
        exact = self._folder / relative
        # `Path.is_file` raises an error if a name is too long.
        if os.path.isfile(exact) or (os.path.isdir(exact) and folder_pictures(exact)):
            return relative, ""
        for with_suffix in (True, False):
            found = self._spellings[with_suffix].get(_spelling(relative, with_suffix), [])
            if len(found) == 1:
                return found[0], ""
            if found:
                return "", f"no such file: {path}; several are alike: {', '.join(sorted(found))}"
        kind = "not a file" if os.path.exists(exact) else "no such file"
        return "", f"{kind}: {path}{self._nearest(relative)}"

    def _relative(self, path: str) -> str | None:
        """The path relative to the folder; None if it leaves it."""
        if "\\" in path and not os.path.exists(self._folder / path):
            path = path.replace("\\", "/")
        if PureWindowsPath(path).drive:
            return None
        pure = PurePosixPath(path)
        if pure.is_absolute():
            absolute = PurePosixPath(os.path.abspath(self._folder))
            if not pure.is_relative_to(absolute):
                return None
            pure = pure.relative_to(absolute)
        return None if ".." in pure.parts else pure.as_posix()

    def _nearest(self, relative: str) -> str:
        if not self._hints_left:
            return ""
        self._hints_left -= 1
        nearest = difflib.get_close_matches(relative, self._names, n=1)
        return f"; the nearest is {nearest[0]}" if nearest else ""

    @functools.cached_property
    def _spellings(self) -> dict[bool, dict[str, list[str]]]:
        """Names of clips by their spelling, with and without a suffix."""
        found: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
        for with_suffix, names in found.items():
            for name in self._names:
                names.setdefault(_spelling(name, with_suffix), []).append(name)
        return found

    @functools.cached_property
    def _names(self) -> list[str]:
        clips = (path for path, is_clip in find_clips(self._folder) if is_clip)
        return sorted(path.relative_to(self._folder).as_posix() for path in clips)


def _spelling(name: str, with_suffix: bool) -> str:
    """The name in one case and Unicode form; only a video's suffix is left out."""
    pure = PurePosixPath(name)
    if not with_suffix and pure.suffix.lower() in VIDEO_SUFFIXES:
        pure = pure.with_suffix("")
    return unicodedata.normalize("NFC", pure.as_posix()).casefold()
