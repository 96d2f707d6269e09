"""AUTSL's official label files against names of files."""

import gzip
from pathlib import Path

import pytest

from tests.helpers.dataset_trees import (
    autsl_source,
    put,
)
from tests.helpers.errors import raises
from tests.helpers.public_listings import sizes
from tfds_builders.autsl import index as autsl
from tfds_builders.listing import SPLITS
from tfds_builders.sources import SourceError, files_below

LISTS = Path(__file__).parents[2] / "lists"


@pytest.fixture(scope="session")
def autsl_labels():
    """The official label files, byte for byte."""
    return {
        split: gzip.decompress((LISTS / f"autsl_{split}_labels.csv.gz").read_bytes())
        for split in SPLITS
    }


@pytest.mark.parametrize(
    ("label_files", "videos"),
    [
        (
            ["train_labels.csv", "validation_labels.csv", "test_labels.csv"],
            "{split}/{clip}_{kind}.mp4",
        ),
        (
            ["labels/train_labels.csv", "labels/val_labels.csv", "test/ground_truth.csv"],
            "{split}/{split}/{clip}_{kind}.mp4",
        ),
        (
            ["train_labels.csv", "a/ground_truth.csv", "b/ground_truth.csv"],
            "{clip}_{kind}.mp4",
        ),
    ],
)
def test_read_finds_the_official_clips_in_all_layouts(tmp_path, autsl_labels, label_files, videos):
    for split, name in zip(SPLITS, label_files, strict=True):
        assert b"\r\n" in autsl_labels[split]
        put(tmp_path, [name], autsl_labels[split])
    names = [
        videos.format(clip=row.split(",")[0], split=split, kind=kind)
        for split, text in autsl_labels.items()
        for row in text.decode().split()
        for kind in ("color", "depth")
    ]
    files = [*files_below(tmp_path), *(tmp_path / name for name in names)]
    listing = autsl.read(tmp_path, files, autsl.NUM_CLIPS)
    assert sizes(listing) == [28_142, 4_418, 3_742]
    assert not any(listing.missing.values())
    assert listing.warnings == []
    signers = {split: {int(c.signer) for c in of} for split, of in listing.found.items()}
    assert [len(signers[split]) for split in SPLITS] == [31, 6, 6]
    labels = autsl.label_names()
    for split in SPLITS:
        assert {c.path.name.rsplit("_")[-1] for c in listing.found[split]} == {"color.mp4"}
        rows = [row.split(",") for row in autsl_labels[split].decode().split()]
        given = {clip: int(label) for clip, label in rows}
        assert {c.id: labels.index(c.label) for c in listing.found[split]} == given
    # No header: the first row of each file is a clip.
    assert listing.found["train"][0].id == "signer0_sample1"
    assert labels.index(listing.found["train"][0].label) == 41


def test_label_names_are_unique():
    names = autsl.label_names()
    assert len(names) == len(set(names)) == 226
    assert names[175], names[182] == ("sen (you)", "siz (you)")
    assert (names[0], names[225]) == ("abla (sister)", "zor (difficult)")


def test_read_short_lists_warns_and_counts(tmp_path):
    autsl_source(tmp_path)
    put(tmp_path, ["train/signer0_sample9_color.mp4", "train/signer0_sample1_depth.mp4"])
    listing = autsl.read(tmp_path, list(files_below(tmp_path)), autsl.NUM_CLIPS)
    assert list(listing.missing["train"]) == ["signer0_sample1", "signer0_sample2"]
    assert listing.warnings == [
        "train: 2 clips listed, 28,142 in the official split",
        "validation: 1 clips listed, 4,418 in the official split",
        "test: 1 clips listed, 3,742 in the official split",
    ]
    assert listing.num_unlisted == {"train": 28_140, "validation": 4_417, "test": 3_741}
    assert listing.unlisted == ["train/signer0_sample9_color.mp4"]


def test_read_wrong_rows_lists_all_problems(tmp_path):
    rows = [
        "video,label",
        "signer0_sample1,226",
        "signer0_sample2,1.0",
        "signer43_sample1,1",
        "signer0_sample3",
        "signer1_sample1,5",
    ]
    autsl_source(tmp_path, "\n".join(rows).encode())
    put(tmp_path, ["copy/val_labels.csv"], b"signer1_sample1,3")
    with pytest.raises(SourceError) as caught:
        autsl.read(tmp_path, sorted(files_below(tmp_path)), {})
    assert caught.value.problems == [
        "train_labels.csv, line 1: expected a clip of signers 0 to 42, found 'video'",
        "train_labels.csv, line 2: expected an id from 0 to 225, found '226'",
        "train_labels.csv, line 3: expected an id from 0 to 225, found '1.0'",
        "train_labels.csv, line 4: expected a clip of signers 0 to 42, found 'signer43_sample1'",
        "train_labels.csv, line 5: expected 2 fields, found 1",
        "train_labels.csv, line 6: signer1_sample1 has the label 5, but 3 in another row",
    ]


def test_read_two_files_of_one_clip_raises(tmp_path):
    autsl_source(tmp_path)
    put(tmp_path, [f"{folder}/signer0_sample1_color.mp4" for folder in ("train", "train/train")])
    with raises(SourceError, problem="train/signer0_sample1_color.mp4 and train/train/"):
        autsl.read(tmp_path, list(files_below(tmp_path)), {})
