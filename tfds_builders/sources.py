"""A user's folder of videos: what lies in it, and errors that tell all that is wrong with it."""

import os
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TypeVar

from dstadapter_jax.errors import UserError

_Key = TypeVar("_Key", bound=Hashable)


class SourceError(UserError):
    """Everything that is wrong with the files of a dataset, one problem a line.

    Attributes:
      problems: one line each; `problem` has all of them.
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
    """Files below `folder` that aren't hidden; linked folders are entered, loops are not.

    Raises:
      OSError: a folder can't be looked into: what it holds would be missing without a word.
    """

    def refuse(error: OSError) -> None:
        raise error

    for here, subfolders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = Path(here).resolve()
        loops = {s for s in subfolders if Path(here, s).resolve() in (real, *real.parents)}
        subfolders[:] = [s for s in subfolders if shown(s) and s not in loops]
        yield from (Path(here, name) for name in names if shown(name))


def shown(name: str) -> bool:
    """Whether a file or folder isn't hidden."""
    return not name.startswith(".")


def root_above(
    folder: Path, is_part: Callable[[Sequence[str], Set[str], Set[str]], bool]
) -> Path | None:
    """The folder above, up to two levels, that `folder` is but a part of; None if neither is.

    Only names in these folders are looked at, nothing is walked: one may be somebody's home.

    Args:
      folder: what a user gave.
      is_part: takes the names that lead from a folder above to `folder`, the names in `folder` and
        those in the folder above, all in lower case.
    """
    absolute = Path(os.path.abspath(folder))  # as typed: `resolve` would follow links elsewhere
    own = names_in(absolute)
    for above in absolute.parents[:2]:
        way = [part.lower() for part in absolute.relative_to(above).parts]
        if is_part(way, own, names_in(above)):
            return above
    return None


def names_in(folder: Path) -> frozenset[str]:
    """Names of what lies directly in a folder, in lower case; none if it can't be looked into."""
    try:
        return frozenset(name.lower() for name in os.listdir(folder))
    except OSError:
        return frozenset()


def by_key(
    folder: Path, files: Sequence[Path], key_of: Callable[[Path], _Key | None]
) -> dict[_Key, Path]:
    """Files by what names them in a dataset's lists.

    Args:
      folder: what errors call the place.
      files: as `files_below` gives them.
      key_of: takes a path relative to `folder`; None passes a file over.

    Raises:
      SourceError: two files have one key: which of them is meant can't be told.
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
        raise SourceError(str(folder), problems, "Each pair is one clip to the lists: keep one.")
    return found


def unlisted(folder: Path, found: Mapping[_Key, Path], listed: Container[_Key]) -> list[str]:
    """Clips, as `by_key` gives them, that no list names: their paths in the folder."""
    strange = (path for key, path in found.items() if key not in listed)
    return sorted(path.relative_to(folder).as_posix() for path in strange)


def unlisted_warnings(names: Sequence[str]) -> list[str]:
    """Tells the clips that are left out because no list names them, if there are any."""
    if not names:
        return []
    return [f"{len(names):,} clip(s) are on no list, and left out: {first_names(names)}"]


def first_names(names: Sequence[str]) -> str:
    """The first five of them."""
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)
