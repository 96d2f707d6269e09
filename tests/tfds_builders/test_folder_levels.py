"""Folders of published datasets that are passed one or two levels too low or too high."""

import contextlib
import os
from pathlib import Path

import pytest

from tests.helpers.dataset_trees import put
from tfds_builders import sources
from tfds_builders.autsl import autsl_dataset_builder as autsl
from tfds_builders.bukva import bukva_dataset_builder as bukva
from tfds_builders.include import include_dataset_builder as include
from tfds_builders.lsa64 import lsa64_dataset_builder as lsa64

LABELS = {"train": "signer0_sample1,1", "val": "signer1_sample1,2", "test": "signer6_sample1,3"}


HEADER = "attachment_id\tuser_id\ttext\tbegin\tend\ttrain"


ROWS = ["a\tu1\tЁ\t0\t1\t1", "b\tu2\tЯ\t0\t1\t1", "c\tu3\tБ\t0\t1\t0"]


def autsl_tree(folder):
    for split, row in LABELS.items():
        put(folder, [f"{split}_labels.csv"], row.encode())
        put(folder, [f"{split}/{split}/{row.split(',')[0]}_color.mp4"])


def autsl_flat_tree(folder):
    """The label files in a folder of their own, the videos one level higher."""
    for split, row in LABELS.items():
        put(folder, [f"labels/{split}_labels.csv"], row.encode())
        put(folder, [f"{split}/{row.split(',')[0]}_color.mp4"])


def bukva_tree(folder):
    put(folder, ["annotations.tsv"], "\n".join([HEADER, *ROWS]).encode())
    put(folder, [f"{kind}/{kind}/{name}" for kind in ("trimmed", "original") for name in "abc"])


def include_tree(folder):
    put(folder, ["Adjectives/1. loud/MVI_5177.MOV", "Animals/4. Bird/Extra/MVI_3042.MOV"])
    for split in ("train", "validation", "test"):
        put(folder, include.index.listed("full", split)[:2])


def include_archives_tree(folder):
    for split in ("train", "validation", "test"):
        for name in include.index.listed("full", split):
            if name.startswith(("Animals/", "Greetings/")):
                put(folder, [f"{name.split('/')[0]}_1of2/{name}"])


def lsa64_tree(folder):
    put(folder, [f"all_cut/{s:03}/{s:03}_{p:03}_001.mp4" for s in (1, 2) for p in range(1, 11)])


DATASETS = {
    "autsl": (autsl.Builder, "rgb", autsl_tree),
    "autsl-flat": (autsl.Builder, "rgb", autsl_flat_tree),
    "bukva": (bukva.Builder, "trimmed", bukva_tree),
    "include": (include.Builder, "full", include_tree),
    "include-archives": (include.Builder, "full", include_archives_tree),
    "lsa64": (lsa64.Builder, "signer_independent", lsa64_tree),
}


PARTS = [
    ("autsl", "train", "."),
    ("autsl", "test/test", "."),
    ("autsl-flat", "val", "."),
    ("bukva", "trimmed", "."),
    ("bukva", "original/original", "."),
    ("include", "Animals", "."),
    ("include", "Animals/4. Bird", "."),
    ("include-archives", "Animals_1of2", "."),
    ("include-archives", "Animals_1of2/Animals", "."),
    ("lsa64", "all_cut/001", "all_cut"),
]


def listing(name, folder, tmp_path):
    builder_cls, config, _ = DATASETS[name]
    builder = builder_cls(config=config, data_dir=tmp_path / "out", file_format="array_record")
    return builder.listing(folder)


def clips(listing):
    return {clip.id: clip.path for of in listing.found.values() for clip in of}


@pytest.mark.parametrize(("name", "given", "used"), PARTS)
def test_listing_of_a_part_uses_the_folder_above(tmp_path, monkeypatch, name, given, used):
    root = tmp_path / "data" / "dataset"
    DATASETS[name][2](root)
    whole = listing(name, root, tmp_path)
    assert len(clips(whole)) > 2
    found = listing(name, root / given, tmp_path)
    assert clips(found) == clips(whole)
    said = f"{root / given} is a part of the dataset: {root / used} is used"
    assert said in found.warnings
    assert not any("is a part" in warning for warning in whole.warnings)
    monkeypatch.chdir(root / given)
    relative = listing(name, Path(), tmp_path)
    assert clips(relative) == clips(whole)


@pytest.mark.parametrize("name", DATASETS)
def test_listing_of_a_folder_above_finds_all_clips(tmp_path, caplog, name):
    """As an archive that brings a folder of its own leaves it."""
    caplog.set_level("INFO")
    root = tmp_path / "given" / "more" / "dataset"
    DATASETS[name][2](root)
    found = clips(listing(name, tmp_path / "given", tmp_path))
    assert found == clips(listing(name, root, tmp_path))
    places = {path.parent for path in found.values()}
    expected = os.path.commonpath(places)
    assert f"All clips found are in {expected}" in caplog.messages
    assert Path(expected).is_relative_to(root)


@pytest.mark.parametrize(("name", "given", "used"), PARTS)
def test_listing_of_a_similar_folder_does_not_leave_it(tmp_path, monkeypatch, name, given, used):
    """Its neighbors aren't the dataset's: the folder above may be anything, and isn't walked."""
    root = tmp_path / "home"
    DATASETS[name][2](root)
    kept = root / (given if name == "lsa64" else Path(given).parts[0])
    for path in [p for p in root.rglob("*") if p.is_file()]:
        if not path.is_relative_to(kept):
            path.unlink()
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    walked = []
    real = sources.files_below
    monkeypatch.setattr(
        "tfds_builders.public_dataset.files_below", lambda f: walked.append(f) or real(f)
    )
    with contextlib.suppress(sources.SourceError):
        listing(name, root / given, tmp_path)
    assert walked == [root / given]
