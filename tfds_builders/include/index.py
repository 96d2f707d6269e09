"""INCLUDE: the official lists, and their clips in a folder."""

import functools
import json
import re
from collections.abc import Sequence, Set
from pathlib import Path, PurePath

from tfds_builders.listing import Listing
from tfds_builders.sources import by_key, unlisted

LISTS = Path(__file__).parent / "lists"
PREFIXES = {"full": "include", "include50": "include50"}  # prefix of the lists' names
LABEL_MAPS = {"full": "label_map.json", "include50": "label_map_include50.json"}
LIST_NAMES = {"train": "train", "validation": "val", "test": "test"}
# One public copy of the lists names .MP4 files that were published as .MOV.
SUFFIXES = (".mov", ".mp4")
UNPUBLISHED = "Days_and_Time/Second (Number)/"  # 8 clips; the word keeps its id, 190


def listed(variant: str, split: str) -> list[str]:
    """The official list: paths such as `Animals/4. Bird/Extra/MVI_3042.MOV`."""
    name = f"{PREFIXES[variant]}_{LIST_NAMES[split]}.txt"
    return (LISTS / name).read_text(encoding="utf-8").splitlines()


def word_key(folder: str) -> str:
    """Key of a word in the official label maps: `83. big large` -> `biglarge`."""
    return "".join(character for character in folder if character.isalpha()).lower()


def word_name(path: str) -> str:
    """The word of a listed path, without its number, which other categories use, too.

    The second part of the path, since some files lie one folder deeper, in `Extra`.
    """
    return re.sub(r"^\d+\.\s*", "", path.split("/")[1])


def label_names(variant: str) -> list[str]:
    """Words in the order of their official ids."""
    ids: dict[str, int] = json.loads((LISTS / LABEL_MAPS[variant]).read_text(encoding="utf-8"))
    names = {word_key(word_name(path)): word_name(path) for path in _every_path()}
    return [names[key] for key in sorted(ids, key=ids.__getitem__)]


def read(folder: Path, files: Sequence[Path], variant: str) -> Listing:
    """Read the official splits of `full` or `include50`.

    Args:
        folder: Folder of the 44 unpacked archives, together or each in its own folder.
        files: All files below it.
        variant: `full` or `include50`.

    Raises:
        SourceError: Two files are the same listed clip.
    """
    found = by_key(folder, files, _file_key)
    method = "the official lists; signers unknown, so the same person is in all splits"
    # Clips that only `full` lists are also in a folder that `include50` is built from.
    known = {_key(PurePath(path)) for path in _every_path()}
    listing = Listing(method, folder, unlisted=unlisted(folder, found, known))
    for split in LIST_NAMES:
        for path in listed(variant, split):
            file = found.get(_key(PurePath(path)))
            if file is None and path.startswith(UNPUBLISHED):
                listing.unavailable[split].append(path)
            else:
                listing.add(split, path, file, word_name(path))
    return listing


def is_part(way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
    """Whether a folder is one category or one archive, with others beside it."""
    del own
    return _is_category(way[0]) and sum(map(_is_category, siblings)) > 1


def _is_category(name: str) -> bool:
    """Whether a name is a category or an archive of one, such as `animals_1of2`."""
    return re.sub(r"_\d+of\d+$", "", name) in _categories()


def _file_key(path: PurePath) -> str | None:
    """The key of a video in a category's folder at any depth; None for other files."""
    categories = [i for i, part in enumerate(path.parts[:-2]) if part.lower() in _categories()]
    if not categories or path.suffix.lower() not in SUFFIXES:
        return None
    return _key(PurePath(*path.parts[categories[-1] :]))


def _key(path: PurePath) -> str:
    return path.with_suffix("").as_posix().lower()


@functools.cache
def _categories() -> frozenset[str]:
    return frozenset(path.split("/")[0].lower() for path in _every_path())


@functools.cache
def _every_path() -> list[str]:
    return [path for split in LIST_NAMES for path in listed("full", split)]
