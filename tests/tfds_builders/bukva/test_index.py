"""Bukva against names of files."""

from types import MappingProxyType

import pytest

from tests.helpers.dataset_trees import (
    LETTERS,
    bukva_rows,
    write_tsv,
)
from tests.helpers.public_listings import sizes
from tfds_builders.bukva import index as bukva
from tfds_builders.listing import SPLITS


def read_bukva(folder, variant="trimmed", names=(), num_clips=MappingProxyType({})):
    files = [folder / "annotations.tsv", *(folder / name for name in names)]
    return bukva.read(folder, files, variant, num_clips)


def test_label_names_are_in_order_of_code_points():
    assert "".join(bukva.label_names()) == LETTERS == "".join(sorted(LETTERS))
    assert bukva.label_names(upstream=True) == ["no_event", *LETTERS]


def test_read_draws_validation_users_from_train(tmp_path):
    write_tsv(tmp_path, bukva_rows())
    names = [f"trimmed/{row[0]}" for row in bukva_rows()]
    listing = read_bukva(tmp_path, names=names, num_clips=bukva.NUM_CLIPS)
    assert sizes(listing) == [14 * 33, 2 * 33, 4 * 33]
    users = [{clip.signer for clip in listing.found[split]} for split in SPLITS]
    assert users[2] == {f"user{i}" for i in range(16, 20)}
    assert sum(map(len, users)) == len(set.union(*users)) == 20
    assert users[1] != {"user14", "user15"}, "the last ones are not a draw"
    again = read_bukva(tmp_path, names=names[::-1])
    assert {clip.signer for clip in again.found["validation"]} == users[1]
    assert listing.warnings == [
        "train: 528 clips listed, 3,097 in the official split",
        "test: 132 clips listed, 660 in the official split",
    ]
    assert listing.num_unlisted == {"train": 3_097 - 528, "validation": 0, "test": 660 - 132}


def test_read_user_in_train_and_test_warns(tmp_path):
    rows = bukva_rows()
    rows[0][7] = "False"
    write_tsv(tmp_path, rows)
    assert "1 user(s) are in train and in test, officially none" in read_bukva(tmp_path).warnings


@pytest.mark.parametrize("pattern", ["{}", "{}.mp4", "{}.MOV"])
@pytest.mark.parametrize("folder", ["trimmed", "videos_cropped", "bukva/trimmed/trimmed"])
def test_read_finds_files_by_stem(tmp_path, folder, pattern):
    write_tsv(tmp_path, bukva_rows())
    names = [f"{folder}/{pattern.format(row[0])}" for row in bukva_rows()]
    names += [f"original/{row[0]}.mp4" for row in bukva_rows()] + [f"{folder}/id-0-0.json"]
    assert read_bukva(tmp_path, names=names).unlisted == []
    names.append(f"{folder}/more.mp4")
    listing = read_bukva(tmp_path, names=names)
    assert listing.unlisted == names[-1:]
    assert not any(listing.missing.values())
    assert {clip.path.parent for clip in listing.found["test"]} == {tmp_path / folder}
    assert {clip.segment for clip in listing.found["test"]} == {None}
    original = read_bukva(tmp_path, "original", names)
    assert {clip.path.parent for clip in original.found["test"]} == {tmp_path / "original"}
    assert {clip.segment for clip in original.found["test"]} == {(2, 5)}
