"""INCLUDE's official lists against names of files."""

import csv
import json
from pathlib import Path

import pytest

from tests.helpers.errors import raises
from tests.helpers.public_listings import FOLDER, below, sizes
from tfds_builders.include import index as include
from tfds_builders.listing import SPLITS
from tfds_builders.sources import SourceError

LISTS = Path(__file__).parents[2] / "lists"


UNPUBLISHED = {
    f"Days_and_Time/Second (Number)/MVI_{n}.MOV"
    for n in (4647, 4648, 4649, 4650, 5503, 5504, 5505, 5506)
}


def include_names(variant="full"):
    """Names as they are on the disk: all that are listed but those never published."""
    listed = [path for split in SPLITS for path in include.listed(variant, split)]
    return [path for path in listed if path not in UNPUBLISHED]


@pytest.mark.parametrize(
    ("variant", "listed", "on_disk"),
    [
        ("full", [3127, 348, 817], [3121, 347, 816]),
        ("include50", [689, 77, 192], [689, 77, 192]),
    ],
)
def test_read_finds_the_official_clips(variant, listed, on_disk):
    listing = include.read(FOLDER, below(include_names()), variant)
    assert sizes(listing) == on_disk
    assert list(listing.num_listed().values()) == listed
    assert not any(listing.missing.values())
    never = {path for paths in listing.unavailable.values() for path in paths}
    assert never == (UNPUBLISHED if variant == "full" else set())
    for split in SPLITS:
        found = [clip.id for clip in listing.found[split]]
        assert found == [p for p in include.listed(variant, split) if p not in never]
        assert [clip.path for clip in listing.found[split]] == below(found)


def test_label_names_match_the_official_ids():
    """Against a table of folders; words are named by path component 1, also below Extra/."""
    with (LISTS / "include_classes.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = include.label_names("full")
    assert len(names) == len(set(names)) == len(rows) == 263
    folder_of = {row["category"] + "/" + row["folder"]: int(row["label"]) for row in rows}
    assert sorted(folder_of.values()) == list(range(263))
    assert names[190] == "Second (Number)"
    assert (names[19], names[0]) == ("big large", "Actor")
    for row in rows:
        assert include.word_key(names[int(row["label"])]) == row["key"]
    listing = include.read(FOLDER, below(include_names()), "full")
    clips = [clip for split in SPLITS for clip in listing.found[split]]
    for clip in clips:
        assert names.index(clip.label) == folder_of["/".join(clip.id.split("/")[:2])]
    extra = [clip for clip in clips if clip.id.count("/") == 3]
    assert len(extra) == 27
    assert not any("extra" in name.lower() for name in names)


def test_label_names_of_include50_match_its_official_ids():
    official = json.loads((include.LISTS / "label_map_include50.json").read_text())
    names = include.label_names("include50")
    assert {include.word_key(name): i for i, name in enumerate(names)} == official
    assert len(names) == 50


def test_listed_include50_and_full_have_different_splits():
    """The figures that the README warns with."""
    paths = {
        (variant, split): set(include.listed(variant, split))
        for variant in ("full", "include50")
        for split in SPLITS
    }
    assert len(paths["include50", "train"] & paths["full", "test"]) == 133
    assert len(paths["include50", "test"] & paths["full", "train"]) == 145
    words = {key: {include.word_name(path) for path in of} for key, of in paths.items()}
    assert words["include50", "train"] - words["include50", "test"] == {"dry"}
    published = {include.word_name(p) for p in paths["full", "validation"] - UNPUBLISHED}
    unseen = words["full", "train"] - published
    assert len(unseen) == 17
    assert "Second (Number)" in unseen


def test_read_finds_clips_of_other_case_suffix_and_depth():
    """Case, .mp4 for .MOV, and each archive unpacked into a folder of its own."""
    names = include_names()
    changed = [
        f"zips/Part{i % 3}/{name.replace('Extra', 'EXTRA').replace('.MOV', '.mp4')}"
        if i % 2
        else name.lower()
        for i, name in enumerate(names)
    ]
    assert sizes(include.read(FOLDER, below(changed), "full")) == [3121, 347, 816]
    others = [name.replace(".MOV", ".txt") for name in names]
    assert sizes(include.read(FOLDER, below(others), "full")) == [0, 0, 0]


def test_read_two_files_of_one_clip_raises():
    pair = ["Adjectives/1. loud/MVI_5179.MOV", "Adjectives/1. loud/MVI_5179.mp4"]
    with raises(SourceError, problem=("MVI_5179.MOV and ", "MVI_5179.mp4")):
        include.read(FOLDER, below(pair), "full")


def test_read_unpublished_clips_in_the_folder_are_found():
    listing = include.read(FOLDER, below([*include_names(), *UNPUBLISHED]), "full")
    assert sizes(listing) == [3127, 348, 817]


def test_read_reports_unlisted_clips():
    """Clips that `full` lists are not reported for include50."""
    more = ["Animals/4. Bird/MVI_9999.MOV", "Animals/notes.txt"]
    for variant in include.PREFIXES:
        listing = include.read(FOLDER, below([*include_names(), *more]), variant)
        assert listing.unlisted == more[:1]
