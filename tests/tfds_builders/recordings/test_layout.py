"""Levels of folders of recordings."""

import pytest

from dstadapter_jax.errors import UserError
from tests.helpers.dataset_trees import put
from tests.helpers.errors import raises
from tfds_builders.recordings.folders import read_folder
from tfds_builders.recordings.layout import parse
from tfds_builders.sources import SourceError


def clips(recordings):
    return {clip.id: (clip.label, clip.signer) for clip in recordings.clips}


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "DEV", "eval")])
def test_read_folder_of_splits_takes_them(source, names):
    put(source, [f"{split}/{label}/{i}.mp4" for split in names for label in "ab" for i in range(2)])
    found = read_folder(source)
    assert {clip.label for clip in found.clips} == {"a", "b"}
    expected = dict(zip(names, ("train", "validation", "test"), strict=True))
    assert found.split_of == {c.id: expected[c.id.split("/")[0]] for c in found.clips}


def test_read_folder_with_a_label_named_test_has_no_splits(source):
    put(source, [f"{label}/{i}.mp4" for label in ("test", "train") for i in range(3)])
    found = read_folder(source)
    assert {clip.label for clip in found.clips} == {"test", "train"}
    assert not found.split_of


def test_read_folder_of_equal_subfolders_asks_for_the_layout(source):
    put(source, [f"signer{s}/{label}/0.mp4" for s in range(3) for label in ("hi", "bye")])
    with raises(SourceError, advice=("--layout signer/label", "--layout label/signer")):
        read_folder(source)
    found = clips(read_folder(source, parse("signer/label")))
    assert found["signer1/hi/0.mp4"] == ("hi", "signer1")
    assert clips(read_folder(source, parse("*/label")))["signer1/hi/0.mp4"] == ("hi", "")
    assert clips(read_folder(source, parse("{label}/{signer}")))["signer1/hi/0.mp4"] == (
        "signer1",
        "hi",
    )


def test_read_folder_with_splits_and_signers(source):
    put(source, [f"{s}/anna/{w}/0.mp4" for s in ("train", "val", "test") for w in ("hi", "bye")])
    found = read_folder(source, parse("split/signer/label"))
    assert clips(found)["val/anna/hi/0.mp4"] == ("hi", "anna")
    assert found.split_of["val/anna/hi/0.mp4"] == "validation"
    with raises(SourceError, problem="fewer levels of folders than --layout"):
        put(source, ["train/x.mp4"])
        read_folder(source, parse("split/signer/label"))


@pytest.mark.parametrize("text", ["signer/label/clip", "{signer}/{label}/{clip}", "Signer/LABEL/"])
def test_parse_takes_braces_any_case_and_a_last_level_clip(text):
    assert parse(text) == ("signer", "label")


@pytest.mark.parametrize("text", ["", "signer", "label/label", "label/word", "label//signer"])
def test_parse_of_a_wrong_layout_raises(text):
    with raises(UserError, where="--layout", found=repr(text)):
        parse(text)


def test_read_folder_passes_over_folders_of_systems(source):
    put(source, [f"{label}/{i}.mp4" for label in "ab" for i in range(2)])
    put(source, ["$RECYCLE.BIN/x.mp4", "@eaDir/a/y.mp4", "__MACOSX/a/._0.mp4", ".Trash-1000/z.mp4"])
    put(source, ["lost+found/q.mp4", "System Volume Information/r.mp4", "a/Thumbs.db"])
    found = read_folder(source)
    assert len(found.clips) == 4
    assert not found.ignored
