"""INCLUDE, built from a few real clips."""

import pytest

from tests.helpers.builds import build_by_id, read_metadata
from tests.helpers.dataset_trees import (
    put,
)
from tests.helpers.errors import raises
from tests.helpers.stored_clips import check_clip
from tfds_builders.include import index as include
from tfds_builders.listing import SPLITS
from tfds_builders.sources import SourceError

STORAGES = ["", "-original"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("variant", ["full", "include50"])
def test_build_stores_the_listed_clips(tmp_path, clip_files, capsys, variant, storage):
    extra = next(p for p in include.listed(variant, "train") if "/Extra/" in p)
    paths = {split: include.listed(variant, split)[0] for split in ("validation", "test")}
    paths["train"] = extra
    source, out = tmp_path / "INCLUDE", tmp_path / "out"
    put(source, [paths["train"], paths["validation"].replace(".MOV", ".mp4")], clip_files["i"])
    put(source, [paths["test"]], clip_files["i"])
    name = f"include/{variant}{storage}"
    info, examples = build_by_id(name, source, out, "--max_missing", "0.9999")
    assert info.features["label"].num_classes == {"full": 263, "include50": 50}[variant]
    for split, path in paths.items():
        assert list(examples[split]) == [path]
        example = examples[split][path]
        check_clip(example, 3, 1080, 1920, 25)
        assert info.features["label"].names[example["label"]] == include.word_name(path)
        assert example["signer"] == b""
    if storage:
        assert examples["train"][extra]["video"] == clip_files["i"]
    stored = read_metadata(out, name)
    counts = [len(include.listed(variant, split)) for split in SPLITS]
    assert list(stored["num_listed"].values()) == counts
    never = [len(stored["unavailable"][split]) for split in SPLITS]
    assert never == ([6, 1, 1] if variant == "full" else [0, 0, 0])
    assert [len(stored["missing"][s]) for s in SPLITS] == [
        count - one_never - 1 for count, one_never in zip(counts, never, strict=True)
    ]
    printed = f"test: 1 clips, signers: unknown, {counts[2] - never[2] - 1} excluded (missing"
    output = capsys.readouterr().out
    assert printed in output
    assert ("1 listed but unpublished" in output) == (variant == "full")


def test_build_without_clips_raises_with_instructions(tmp_path):
    put(tmp_path / "in", ["Adjectives_1of8.zip"])
    with raises(SourceError, problem="none of 4,284 clips found", advice=("WORD/MVI", "1 archive")):
        build_by_id("include/full", tmp_path / "in", tmp_path / "out")
