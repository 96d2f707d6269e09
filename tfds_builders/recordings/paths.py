"""Files that a table's paths mean, however they are spelled."""

import difflib
import functools
import os
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath, PureWindowsPath

from dstadapter_jax.data.video.pictures import folder_pictures
from tfds_builders.recordings.clip_files import find_clips


class PathFinder:
    """Finds the clips of a folder by paths that may differ from their names.

    A path may have backslashes, other case, another Unicode form, another suffix or none, or be
    absolute, as long as one clip only fits.
    """

    def __init__(self, folder: Path):
        self._folder = folder

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
        for by_spelling in (self._by_name, self._by_stem):
            if found := by_spelling.get(
                _spelling(relative, with_suffix=by_spelling is self._by_name)
            ):
                if len(found) == 1:
                    return found[0], ""
                return "", f"no such file: {path}; several are alike: {', '.join(sorted(found))}"
        if os.path.exists(exact):
            return "", f"not a file: {path}{self._nearest(relative)}"
        return "", f"no such file: {path}{self._nearest(relative)}"

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
        names = [name for of in self._by_name.values() for name in of]
        nearest = difflib.get_close_matches(relative, names, n=1)
        return f"; the nearest is {nearest[0]}" if nearest else ""

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return self._spellings(with_suffix=True)

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return self._spellings(with_suffix=False)

    def _spellings(self, *, with_suffix: bool) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self._names:
            found[_spelling(name, with_suffix=with_suffix)].append(name)
        return found

    @functools.cached_property
    def _names(self) -> list[str]:
        clips = (path for path, is_clip in find_clips(self._folder) if is_clip)
        return sorted(path.relative_to(self._folder).as_posix() for path in clips)


def _spelling(name: str, *, with_suffix: bool) -> str:
    pure = PurePosixPath(name)
    text = pure.as_posix() if with_suffix else pure.with_suffix("").as_posix()
    return unicodedata.normalize("NFC", text).casefold()
