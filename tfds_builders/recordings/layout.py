"""Levels of folders of recordings: label, split, signer."""

from collections import defaultdict
from collections.abc import Sequence

from dstadapter_jax.errors import UserError
from tfds_builders.recordings.contents import SPLIT_NAMES
from tfds_builders.sources import SourceError, first_names

LEVELS = ("label", "split", "signer", "*")
DEFAULT = ("label",)

Layout = tuple[str, ...]


def parse(text: str) -> Layout:
    """Parse `--layout`: names of levels from the top, such as `signer/label`; `*` is ignored.

    A last level `clip`, the file, may be given or left out.

    Raises:
        UserError: A level is unknown or repeated, or there is no label.
    """
    levels = tuple(level.strip("{} ").lower() for level in text.strip("/").split("/"))
    if levels[-1] == "clip":
        levels = levels[:-1]
    named = [level for level in levels if level != "*"]
    if set(levels) <= set(LEVELS) and len(set(named)) == len(named) and "label" in named:
        return levels
    raise UserError(
        "--layout",
        expected="levels of folders from the top, with slashes between, each one of "
        f"{', '.join(LEVELS)}, and label once; such as signer/label",
        found=repr(text),
    )


def detect(paths: Sequence[str], folder: str) -> Layout:
    """Find the layout of clips whose paths are relative to a folder.

    It is `split/label` if all top folders are named as splits, else `label`, below which folders
    are free.

    Raises:
        SourceError: The top folders hold folders of the same names, so that either level may be the
            label.
    """
    parts = [path.split("/") for path in paths]
    tops = {part[0] for part in parts}
    nested = all(len(part) > 2 for part in parts)
    if tops and nested and all(top.lower() in SPLIT_NAMES for top in tops):
        return "split", "label"
    if nested and len(tops) > 1:
        _refuse_ambiguous(parts, folder)
    return DEFAULT


def _refuse_ambiguous(parts: Sequence[Sequence[str]], folder: str) -> None:
    tops_of = defaultdict(set)
    for part in parts:
        tops_of[part[1]].add(part[0])
    shared = sorted(name for name, tops in tops_of.items() if len(tops) > 1)
    if len(shared) < 2:
        return
    tops = sorted({part[0] for part in parts})
    raise SourceError(
        folder,
        [
            f"{len(tops)} folders ({first_names(tops)}) hold folders of the same names "
            f"({first_names(shared)})"
        ],
        "Which are the labels? Pass one of:\n"
        f"  --layout signer/label   labels {first_names(shared)}\n"
        f"  --layout label/signer   labels {first_names(tops)}\n"
        "In place of signer, * ignores a level.",
    )
