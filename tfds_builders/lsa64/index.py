"""LSA64: 64 signs by 10 signers, 5 takes each, and three ways to split them."""

import csv
import itertools
import random
import re
from collections.abc import Sequence, Set
from pathlib import Path, PurePath

from tfds_builders.listing import Listing
from tfds_builders.sources import SourceError, by_key

SIGNS = Path(__file__).with_name("signs.tsv")
NUM_SIGNS, NUM_SIGNERS, NUM_TAKES = 64, 10, 5
UNUSED = "(unused)"  # class 0 of the reference, whose ids are the numbers in file names
SEED = 0
# Clips of each sign's 50; the reference has no validation split.
RANDOM_TEST, RANDOM_VALIDATION = 10, 4
# Signers of validation and test.
HELD_OUT = {"signer_independent": ((9,), (10,)), "signers_9_10_test": ((8,), (9, 10))}
METHODS = {
    "signer_independent": "signers 1-8 train, 9 validation, 10 test",
    "signers_9_10_test": "signers 1-7 train, 8 validation, 9 and 10 test",
    "random_80_20": f"drawn for each sign (seed {SEED}), 80 % and 20 % test, a tenth of the 80 % "
    "validation; the same signers are in all splits",
}

_NAME = re.compile(r"(\d{3})_(\d{3})_(\d{3})", re.ASCII)


def label_names(*, upstream: bool = False) -> list[str]:
    """Spanish names with English ones, in order of id; with `upstream`, id 0 is unused."""
    with SIGNS.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        names = [f"{row['name_es']} ({row['name_en']})" for row in rows]
    return [UNUSED, *names] if upstream else names


def listed(variant: str) -> dict[str, str]:
    """Map all clips of the dataset to their splits: `001_004_002` -> `train`."""
    numbers = itertools.product(*(range(1, n + 1) for n in (NUM_SIGNS, NUM_SIGNERS, NUM_TAKES)))
    names = [f"{sign:03}_{signer:03}_{take:03}" for sign, signer, take in numbers]
    if variant == "random_80_20":
        return _draw(names)
    validation, test = HELD_OUT[variant]
    split_of_signer = {**dict.fromkeys(validation, "validation"), **dict.fromkeys(test, "test")}
    return {name: split_of_signer.get(int(name.split("_")[1]), "train") for name in names}


def read(folder: Path, files: Sequence[Path], variant: str) -> Listing:
    """Find the clips at any depth and split them.

    Args:
        folder: Folder of the unpacked archive.
        files: All files below it.
        variant: A key of METHODS.

    Raises:
        SourceError: Two files have the same name, or a name does not exist in LSA64.
    """
    found = by_key(folder, files, _name_of)
    split_of = listed(variant)
    if unknown := sorted(f"{name}.mp4" for name in found.keys() - split_of.keys()):
        problems = [f"{name}: LSA64 has no such clip" for name in unknown]
        advice = "Expected SIGN_SIGNER_TAKE.mp4 from 001_001_001.mp4 to 064_010_005.mp4."
        raise SourceError(str(folder), problems, advice)
    names = label_names()
    listing = Listing(METHODS[variant], folder)
    for name, split in split_of.items():
        sign, signer, _ = name.split("_")
        listing.add(split, name, found.get(name), names[int(sign) - 1], signer=signer)
    return listing


def is_part(way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
    """Whether a folder is one sign, such as `all_cut/001`, with others beside it."""
    signs = {f"{sign:03}" for sign in range(1, NUM_SIGNS + 1)}
    has_clips = any(_name_of(PurePath(name)) for name in own)
    return way[0] in signs and len(siblings & signs) > 1 and has_clips


def _name_of(path: PurePath) -> str | None:
    return path.stem if path.suffix.lower() == ".mp4" and _NAME.fullmatch(path.stem) else None


def _draw(names: list[str]) -> dict[str, str]:
    split_of = dict.fromkeys(names, "train")
    for sign, of_sign in itertools.groupby(names, key=lambda name: name.split("_")[0]):
        clips = list(of_sign)
        order = random.Random(f"{SEED}/{sign}").sample(clips, len(clips))
        split_of.update(dict.fromkeys(order[:RANDOM_TEST], "test"))
        validation = order[RANDOM_TEST : RANDOM_TEST + RANDOM_VALIDATION]
        split_of.update(dict.fromkeys(validation, "validation"))
    return split_of
