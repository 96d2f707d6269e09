"""Files in a user's folder, and errors that list all problems with them."""

import os
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TypeVar

from dstadapter_jax.errors import UserError

# Recycle bins, thumbnails and the like, of Windows, macOS, Linux and network disks.
_SYSTEM_NAMES = {
    *("$recycle.bin", "recycler", "system volume information", "desktop.ini", "thumbs.db"),
    *("__macosx", "lost+found", "@eadir", "#recycle", "#snapshot", "@recycle"),
}

_Key = TypeVar("_Key", bound=Hashable)


class SourceError(UserError):
    """All problems with the files of a dataset, one a line.

    Attributes:
        problems: The lines; `problem` is their text.
    """

    def __init__(self, where: str, problems: Sequence[str], advice: str = "", *, summary: str = ""):
        super().__init__(where, problem="\n".join(problems), advice=advice)
        self.problems, self._summary = list(problems), summary
        self._set_message()

    def add_advice(self, text: str) -> None:
        """Append lines to the advice."""
        self.advice = f"{self.advice}\n{text}".strip()
        self._set_message()

    def _set_message(self) -> None:
        head = ": ".join(filter(None, [self.where, self._summary]))
        problems = (f"  {problem}" for problem in self.problems)
        self.args = ("\n".join(filter(None, [f"{head}:", *problems, self.advice])),)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield files below `folder` that are not hidden; links to folders are followed, loops not.

    Raises:
        OSError: A folder can't be listed; its files would be missing without a message.
    """

    def refuse(error: OSError) -> None:
        raise error

    for here, subfolders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = Path(here).resolve()
        loops = {s for s in subfolders if Path(here, s).resolve() in (real, *real.parents)}
        subfolders[:] = [s for s in subfolders if is_shown(s) and s not in loops]
        yield from (Path(here, name) for name in names if is_shown(name))


def is_shown(name: str) -> bool:
    """Whether a file or folder is not hidden, and not one of those that systems create."""
    return not name.startswith(".") and name.lower() not in _SYSTEM_NAMES


def root_above(
    folder: Path, is_part: Callable[[Sequence[str], Set[str], Set[str]], bool]
) -> Path | None:
    """The folder of a whole dataset, one or two levels above a part of it; None if there is none.

    Only the names in these folders are read: one of them may be someone's home folder.

    Args:
        folder: The folder that a user passed.
        is_part: Function that returns whether a folder above is the dataset's. It receives names in
            lower case: those of the path from there to `folder`, the entries of `folder`, and the
            entries of the folder above.
    """
    absolute = Path(os.path.abspath(folder))  # `resolve` would follow links to other places
    own = names_in(absolute)
    for above in absolute.parents[:2]:
        way = [part.lower() for part in absolute.relative_to(above).parts]
        if is_part(way, own, names_in(above)):
            return above
    return None


def names_in(folder: Path) -> frozenset[str]:
    """Names of a folder's entries in lower case; empty if it can't be listed."""
    try:
        return frozenset(name.lower() for name in os.listdir(folder))
    except OSError:
        return frozenset()


def by_key(
    folder: Path, files: Sequence[Path], key_of: Callable[[Path], _Key | None]
) -> dict[_Key, Path]:
    """Map the keys by which a dataset's lists name clips to their files.

    Args:
        folder: The folder of the files.
        files: The result of `files_below`.
        key_of: Function of a path relative to `folder`; None for files that are not clips.

    Raises:
        SourceError: Two files have the same key.
    """
    found: dict[_Key, Path] = {}
    problems = []
    for path in sorted(files):
        key = key_of(path.relative_to(folder))
        if key is None:
            continue
        if key in found:
            first, second = (p.relative_to(folder).as_posix() for p in (found[key], path))
            problems.append(f"{first} and {second}")
        found.setdefault(key, path)
    if problems:
        raise SourceError(str(folder), problems, "Keep one file of each pair: it is one clip.")
    return found


def unlisted(folder: Path, found: Mapping[_Key, Path], listed: Container[_Key]) -> list[str]:
    """Paths, relative to the folder, of clips found by `by_key` that no list names."""
    paths = (path for key, path in found.items() if key not in listed)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def unlisted_warnings(names: Sequence[str]) -> list[str]:
    """A warning of clips that are left out since no list names them, if there are any."""
    if not names:
        return []
    return [f"{len(names):,} clip(s) are on no list, and left out: {first_names(names)}"]


def first_names(names: Sequence[str]) -> str:
    """The first five names."""
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)
