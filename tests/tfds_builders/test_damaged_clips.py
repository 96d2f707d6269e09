"""Files of the four datasets that are damaged or unusual, in their codecs and containers."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.records import example_views
from tests.helpers.builds import run
from tests.helpers.clips import barcoded_frames, read_barcode, write_clip
from tests.helpers.errors import raises
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.include import index as include

SPLITS = ("train", "validation", "test")
# Files of one clip each for train, validation and test, and how they are encoded.
AUTSL = [f"signer{signer}_sample1_color.mp4" for signer in (0, 1, 6)]
INCLUDE = [include.listed("full", split)[1] for split in SPLITS]
LSA64 = [f"all_cut/001_{signer:03}_001.mp4" for signer in (1, 9, 10)]
BUKVA = [f"trimmed/{name}" for name in ("x", "y", "z")]
DATASETS = {
    "autsl/rgb": (AUTSL, {"codec": "mpeg4"}, "mp4"),
    "include/full": (INCLUDE, {"fps": 25}, "mov"),
    "bukva/trimmed": (BUKVA, {}, "mp4"),
    "lsa64/signer_independent": (LSA64, {"fps": Fraction(60_000, 1_001)}, "mp4"),
}


def put_labels(folder, dataset):
    """What the dataset needs beside its clips."""
    if dataset.startswith("autsl"):
        for split, name in zip(("train", "val", "test"), AUTSL, strict=True):
            row = f"{name.removesuffix('_color.mp4')},1"
            (folder / f"{split}_labels.csv").write_text(row)
    if dataset.startswith("bukva"):
        rows = ["attachment_id\tuser_id\ttext\tbegin\tend\ttrain\tlength"]
        # The validation user is drawn from the two others.
        rows += [f"{n}\t{n}\tЁ\t0\t0\t{n != 'z'}\t1" for n in "xyz"]
        (folder / "annotations.tsv").write_text("\n".join(rows))


def put(folder, dataset, num_frames):
    names, encoding, container = DATASETS[dataset]
    folder.mkdir()
    clip = folder.parent / f"clip.{container}"
    write_clip(clip, barcoded_frames(num_frames, 120, 160), **encoding)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / name)
    put_labels(folder, dataset)
    return [folder / name for name in names]


def build(dataset, source, out, max_missing="0.9999"):
    arguments = ["--manual_dir", str(source), "--data_dir", str(out)]
    return run([dataset, *arguments, "--max_missing", max_missing])


@pytest.mark.parametrize("storage", ["", "-original"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_build_clip_of_one_frame_is_stored_and_read(tmp_path, dataset, storage):
    put(tmp_path / "in", dataset, num_frames=1)
    assert build(dataset + storage, tmp_path / "in", tmp_path / "out") == 0
    built = open_dataset(dataset + storage, str(tmp_path / "out"))
    assert built.num_clips == dict.fromkeys(SPLITS, 1)
    cfg = PreprocessConfig(num_frames=4, resolution=112)
    for split in SPLITS:
        (example,) = built.source(split)
        assert example["num_frames"] == 1
        views, *_ = example_views(example, cfg, "pyav", "test", None)
        assert {read_barcode(frame) for frame in views[0]} == {0}
        rng = np.random.default_rng(0)
        views, *_ = example_views(example, cfg, "pyav", "train", rng)
        assert views.shape == (1, 4, 112, 112, 3)


@pytest.mark.parametrize("storage", ["", "-original"])
@pytest.mark.parametrize("dataset", DATASETS)
def test_build_truncated_and_empty_clips_raises_with_reasons(tmp_path, dataset, storage):
    """Each is refused by name with what is wrong; so is a text in a clip's place."""
    files = put(tmp_path / "in", dataset, num_frames=12)
    whole = files[0].read_bytes()
    contents = {"is empty (0 bytes)": b"", "": whole[: len(whole) * 2 // 3], "is not a video": b"?"}
    for path, content in zip(files, contents.values(), strict=True):
        path.write_bytes(content)
    with raises(UnusableClipsError) as caught:
        build(dataset + storage, tmp_path / "in", tmp_path / "out")
    for path, reason in zip(files, contents, strict=True):
        name = path.name.removesuffix("_color.mp4").removesuffix(".mp4")
        assert any(f"{name}: {reason}" in problem for problem in caught.value.problems), name
    assert not (tmp_path / "out" / dataset.split("/")[0]).exists()


def test_build_folder_instead_of_a_clip_raises(tmp_path):
    files = put(tmp_path / "in", "autsl/rgb", num_frames=2)
    files[0].unlink()
    files[0].mkdir()
    with raises(UnusableClipsError, problem="signer0_sample1: no such file"):
        build("autsl/rgb", tmp_path / "in", tmp_path / "out", "0.5")


def test_build_broken_link_raises(tmp_path):
    files = put(tmp_path / "in", "autsl/rgb", num_frames=2)
    files[0].unlink()
    files[0].symlink_to(tmp_path / "gone.mp4")
    with raises(UnusableClipsError, problem="signer0_sample1: No such file"):
        build("autsl/rgb", tmp_path / "in", tmp_path / "out", "0.5")


def test_read_include_lists_with_mp4_finds_mov(tmp_path, monkeypatch):
    """As a public copy of the lists does of 605 files that were published as .MOV."""
    names = [path for split in SPLITS for path in include.listed("full", split)]
    files = [tmp_path / name for name in names if not name.startswith(include.UNPUBLISHED)]
    shutil.copytree(include.LISTS, tmp_path / "lists")
    changed = 0
    for split in ("train", "test"):
        table = tmp_path / "lists" / f"include_{split}.txt"
        lines = table.read_text().splitlines()
        lines[::6] = [line.replace(".MOV", ".MP4") for line in lines[::6]]
        changed += len(lines[::6])
        table.write_text("\n".join(lines))
    monkeypatch.setattr(include, "LISTS", tmp_path / "lists")
    include._every_path.cache_clear()
    try:
        listing = include.read(tmp_path, files, "full")
    finally:
        include._every_path.cache_clear()
    assert changed > 605
    assert [len(listing.found[split]) for split in SPLITS] == [3121, 347, 816]
    assert not any(listing.missing.values())
    labels = {clip.path: clip.label for clips in listing.found.values() for clip in clips}
    assert all(include.word_name(str(p.relative_to(tmp_path))) == labels[p] for p in files)


def test_build_writes_reasons_of_missing_and_damaged_clips(tmp_path):
    """A damaged and a missing clip, in both of the metadata's tables."""
    files = put(tmp_path / "in", "lsa64/signer_independent", num_frames=2)
    damaged = files[0].with_name("002_001_001.mp4")
    damaged.write_bytes(b"?")
    assert build("lsa64", tmp_path / "in", tmp_path / "out") == 0
    path = tmp_path / "out/lsa64/signer_independent/1.0.0/metadata.json"
    stored = json.loads(path.read_text())
    assert stored["missing"]["train"]["001_001_002"] == "no such file"
    assert stored["missing"]["train"]["002_001_001"].startswith("is not a video")
    labels = stored["missing_clip_labels"]["train"]
    assert (labels["001_001_002"], labels["002_001_001"]) == ("Opaco (Opaque)", "Rojo (Red)")
    signers = stored["missing_clip_signers"]["train"]
    assert (signers["001_001_002"], signers["002_001_001"]) == ("001", "001")
    assert stored["missing"]["train"].keys() == labels.keys() == signers.keys()
    assert len(labels) == 2560 - 1
