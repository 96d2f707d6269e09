"""The contents of a user's folder of recordings, and rules for names in it."""

import dataclasses
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from tfds_builders.clip_examples import Clip

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


@dataclasses.dataclass(frozen=True)
class MissingClip:
    """A listed clip whose file was not found."""

    id: str
    label: str
    signer: str
    split: str  # '' if the user gives no splits
    reason: str


@dataclasses.dataclass(frozen=True)
class Recordings:
    """The clips of a folder, sorted by id, which is the path relative to the folder.

    Attributes:
        clips: All clips.
        split_of: Clip id to `train`, `validation` or `test`; empty if the user gives no splits.
        splits_from: Where the user gives the splits, such as `the column split`.
        ignored: Paths of files that are not videos.
        missing: Listed clips without a file.
        warnings: Sentences for the user.
    """

    clips: list[Clip]
    split_of: dict[str, str] = dataclasses.field(default_factory=dict)
    splits_from: str = ""
    ignored: list[str] = dataclasses.field(default_factory=list)
    missing: list[MissingClip] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


def clean_name(name: str) -> str:
    """A label or signer without surrounding spaces, in Unicode's composed form.

    Names are compared by code points, and é has two forms.
    """
    return unicodedata.normalize("NFC", name.strip())


def name_problem(name: str) -> str:
    """Why a name can't be stored, or '': label names are stored as lines of a UTF-8 file."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the name isn't UTF-8"
    return "line break in the name" if len(name.splitlines()) > 1 else ""


def lookalike_warnings(labels: Iterable[str]) -> list[str]:
    """A sentence about labels that differ by case, spaces or Unicode's compatible forms only."""
    alike = defaultdict(list)
    for label in sorted(set(labels)):
        form = unicodedata.normalize("NFKC", label).casefold()
        printed = "".join(c for c in form if unicodedata.category(c) != "Cf")  # zero width
        alike[" ".join(printed.split())].append(label)
    groups = [" and ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    return [
        f"{len(groups)} group(s) of labels look alike, and stay different: {'; '.join(groups[:5])}"
    ]
