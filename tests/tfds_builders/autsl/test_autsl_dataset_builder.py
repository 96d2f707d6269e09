"""AUTSL, built from a few real clips."""

import pytest

from tests.helpers.builds import build_by_id
from tests.helpers.dataset_trees import (
    autsl_source,
    put,
    put_autsl,
)
from tests.helpers.errors import raises
from tests.helpers.stored_clips import check_clip, frame_numbers
from tfds_builders.listing import SPLITS
from tfds_builders.sources import SourceError

STORAGES = ["", "-original"]


@pytest.mark.parametrize("storage", STORAGES)
def test_build_stores_the_listed_clips(tmp_path, clip_files, storage):
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    put_autsl(source, clip_files)
    info, examples = build_by_id(f"autsl/rgb{storage}", source, out)
    assert [list(examples[split]) for split in SPLITS] == [
        ["signer0_sample1", "signer0_sample2"],
        ["signer1_sample1"],
        ["signer6_sample1"],
    ]
    assert [e["label"] for of in examples.values() for e in of.values()] == [41, 2, 3, 4]
    example = examples["train"]["signer0_sample1"]
    check_clip(example, 5, 512, 512, 30)
    assert example["signer"] == b"0"
    assert info.metadata["signers"] == {"train": ["0"], "validation": ["1"], "test": ["6"]}
    assert info.metadata["missing"] == {"train": {}, "validation": {}, "test": {}}
    assert frame_numbers(example) == [0, 1, 2, 3, 4]


def test_build_without_a_label_file_raises_with_instructions(tmp_path):
    autsl_source(tmp_path)
    (tmp_path / "val_labels.csv").unlink()
    put(tmp_path, ["validation_labels.zip", "train_set_vfbha39.zip.001"])
    typed = f"cd {tmp_path} && 7z x train_set_vfbha39.zip.001 '-o*'"
    with raises(
        SourceError,
        problem="no labels of validation: expected validation_labels.csv or val_labels.csv",
        advice=("2 archive(s) lie there", typed),
    ):
        build_by_id("autsl/rgb", tmp_path, tmp_path / "out")
