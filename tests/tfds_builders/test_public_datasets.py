"""INCLUDE, AUTSL, Bukva and LSA64: their real lists against names, and small real clips built.

lists/ holds the official label files of AUTSL and a table of INCLUDE's folders and ids.
"""

import csv
import gzip
import importlib
import json
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_metadata import valid_tags

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import example_views
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.evaluation.results import MissingClips
from tests.helpers import builds
from tests.helpers.builds import run
from tests.helpers.clips import read_barcode
from tests.helpers.dataset_trees import (
    COLUMNS,
    LETTERS,
    autsl_source,
    bukva_rows,
    put,
    put_autsl,
    write_tsv,
)
from tests.helpers.errors import raises
from tfds_builders import clip_builder, public_dataset
from tfds_builders.autsl import index as autsl
from tfds_builders.bukva import index as bukva
from tfds_builders.datasets import DATASETS
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.include import index as include
from tfds_builders.listing import SPLITS
from tfds_builders.lsa64 import index as lsa64
from tfds_builders.sources import SourceError, files_below

LISTS = Path(__file__).parents[1] / "lists"
FOLDER = Path("/dataset")  # doesn't exist: an index only looks at names
UNPUBLISHED = {
    f"Days_and_Time/Second (Number)/MVI_{n}.MOV"
    for n in (4647, 4648, 4649, 4650, 5503, 5504, 5505, 5506)
}


def sizes(listing):
    return [len(listing.found[split]) for split in SPLITS]


def below(names):
    return [FOLDER / name for name in names]


def build(dataset, source, out, *options, **builder_options):
    assert builds.build(dataset, source, out, *options, **builder_options) == 0
    builder = tfds.builder_from_directory(out / dataset / "1.0.0")
    examples = {split: list(builder.as_data_source(split)) for split in SPLITS}
    return builder.info, {s: {e["id"].decode(): e for e in of} for s, of in examples.items()}


def metadata(out, dataset):
    return json.loads((out / dataset / "1.0.0" / "metadata.json").read_text())


# INCLUDE


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
def test_include_counts(variant, listed, on_disk):
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


def test_include_words_are_one_to_one_with_the_official_ids():
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


def test_include50_has_ids_of_its_own():
    official = json.loads((include.LISTS / "label_map_include50.json").read_text())
    names = include.label_names("include50")
    assert {include.word_key(name): i for i, name in enumerate(names)} == official
    assert len(names) == 50


def test_include50_splits_are_not_those_of_the_whole():
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


def test_include_in_other_spellings_and_levels():
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


def test_include_takes_no_one_of_two_files_for_one_clip():
    pair = ["Adjectives/1. loud/MVI_5179.MOV", "Adjectives/1. loud/MVI_5179.mp4"]
    with raises(SourceError, problem=("MVI_5179.MOV and ", "MVI_5179.mp4")):
        include.read(FOLDER, below(pair), "full")


def test_include_second_number_is_taken_where_somebody_has_it():
    listing = include.read(FOLDER, below([*include_names(), *UNPUBLISHED]), "full")
    assert sizes(listing) == [3127, 348, 817]


def test_include_tells_files_on_no_list():
    """Of include50 those that `full` lists are nothing strange."""
    more = ["Animals/4. Bird/MVI_9999.MOV", "Animals/notes.txt"]
    for variant in include.PREFIXES:
        listing = include.read(FOLDER, below([*include_names(), *more]), variant)
        assert listing.unlisted == more[:1]


# AUTSL


@pytest.fixture(scope="session")
def autsl_labels():
    """The official label files, byte for byte."""
    return {
        split: gzip.decompress((LISTS / f"autsl_{split}_labels.csv.gz").read_bytes())
        for split in SPLITS
    }


def autsl_clips(labels):
    return [row.split(",")[0] for text in labels.values() for row in text.decode().split()]


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
def test_autsl_counts_and_layouts(tmp_path, autsl_labels, label_files, videos):
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


def test_autsl_names():
    names = autsl.label_names()
    assert len(names) == len(set(names)) == 226
    assert names[175], names[182] == ("sen (you)", "siz (you)")
    assert (names[0], names[225]) == ("abla (sister)", "zor (difficult)")


def test_autsl_tells_unusual_lists(tmp_path):
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


def test_autsl_bad_labels_are_listed_at_once(tmp_path):
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


def test_autsl_without_a_label_file(tmp_path):
    autsl_source(tmp_path)
    (tmp_path / "val_labels.csv").unlink()
    put(tmp_path, ["validation_labels.zip", "train_set_vfbha39.zip.001"])
    typed = f"cd {tmp_path} && 7z x train_set_vfbha39.zip.001 '-o*'"
    with raises(
        SourceError,
        problem="no labels of validation: expected validation_labels.csv or val_labels.csv",
        advice=("2 archive(s) lie there", typed),
    ):
        build("autsl/rgb", tmp_path, tmp_path / "out")


def test_autsl_twice_in_one_folder(tmp_path):
    autsl_source(tmp_path)
    put(tmp_path, [f"{folder}/signer0_sample1_color.mp4" for folder in ("train", "train/train")])
    with raises(SourceError, problem="train/signer0_sample1_color.mp4 and train/train/"):
        autsl.read(tmp_path, list(files_below(tmp_path)), {})


# Bukva


def read_bukva(folder, variant="trimmed", names=(), num_clips=MappingProxyType({})):
    files = [folder / "annotations.tsv", *(folder / name for name in names)]
    return bukva.read(folder, files, variant, num_clips)


def test_bukva_names_are_in_order_of_code_point():
    assert "".join(bukva.label_names()) == LETTERS == "".join(sorted(LETTERS))
    assert bukva.label_names(upstream=True) == ["no_event", *LETTERS]


def test_bukva_splits_share_no_user(tmp_path):
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


def test_bukva_tells_users_of_both_official_splits(tmp_path):
    rows = bukva_rows()
    rows[0][7] = "False"
    write_tsv(tmp_path, rows)
    assert "1 user(s) are in train and in test, officially none" in read_bukva(tmp_path).warnings


@pytest.mark.parametrize("pattern", ["{}", "{}.mp4", "{}.MOV"])
@pytest.mark.parametrize("folder", ["trimmed", "videos_cropped", "bukva/trimmed/trimmed"])
def test_bukva_files_by_stem(tmp_path, folder, pattern):
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


@pytest.mark.parametrize("form", ["named index", "unnamed index", "no header of index", "0 and 1"])
def test_bukva_tables_of_other_forms(tmp_path, form):
    rows, header = bukva_rows(), COLUMNS
    if "index" in form:
        rows = [[str(i), *row] for i, row in enumerate(rows)]
        header = [*{"named index": ["Unnamed: 0"], "unnamed index": [""]}.get(form, []), *COLUMNS]
    else:
        rows = [[{"True": "1", "False": "0"}.get(value, value) for value in row] for row in rows]
    write_tsv(tmp_path, rows, header)
    listing = read_bukva(tmp_path)
    assert [len(listing.missing[split]) for split in SPLITS] == [14 * 33, 2 * 33, 4 * 33]


def test_bukva_letters_are_composed(tmp_path):
    rows = bukva_rows()
    for row in rows:
        row[2] = f" {unicodedata.normalize('NFD', row[2])} "
    assert sum(len(row[2]) == 4 for row in rows) == 2 * 20
    write_tsv(tmp_path, rows)
    listing = read_bukva(tmp_path, names=[f"trimmed/{row[0]}" for row in rows])
    found = Counter(clip.label for clip in listing.found["train"])
    assert found == dict.fromkeys(LETTERS, 14)


def test_bukva_bad_rows_are_listed_at_once(tmp_path):
    rows = bukva_rows()
    rows[0][2], rows[1][2], rows[2][7] = "A", "no", "yes"  # the A is Latin
    rows[3][3:5], rows[4][3], rows[5][0] = ["6", "5"], "-1", "id-0-6"
    rows[7][1], rows[8] = "", rows[8][:4]
    write_tsv(tmp_path, rows)
    with pytest.raises(SourceError) as caught:
        read_bukva(tmp_path)
    assert caught.value.problems == [
        "line 2: expected one of the 33 letters, found 'A' (LATIN CAPITAL LETTER A)",
        "line 3: expected one of the 33 letters, found 'no' "
        "(LATIN SMALL LETTER N + LATIN SMALL LETTER O)",
        "line 4: expected True or False in train, found 'yes'",
        "line 5: expected begin <= end, in frames, found '6' and '5'",
        "line 6: expected begin <= end, in frames, found '-1' and '5'",
        "line 9: no user_id",
        "line 10: expected 9 fields, found 4",
        "lines [7, 8]: the same attachment_id",
    ]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([], "none found"),
        (["annotations.tsv", "old/annotations.tsv"], "old/annotations.tsv"),
    ],
)
def test_bukva_needs_one_table(tmp_path, tables, message):
    put(tmp_path, tables)
    with raises(SourceError, problem=message):
        bukva.read(tmp_path, [tmp_path / table for table in tables], "trimmed", {})


def test_bukva_without_a_column(tmp_path):
    write_tsv(tmp_path, [row[:-2] for row in bukva_rows()], COLUMNS[:-2])
    with raises(SourceError, problem="no column 'train'"):
        read_bukva(tmp_path)


# LSA64

LSA64_NAMES = [
    f"{sign:03}_{signer:03}_{take:03}.mp4"
    for sign in range(1, 65)
    for signer in range(1, 11)
    for take in range(1, 6)
]


@pytest.mark.parametrize(
    ("variant", "counts", "signers"),
    [
        ("signer_independent", [2560, 320, 320], [range(1, 9), [9], [10]]),
        ("signers_9_10_test", [2240, 320, 640], [range(1, 8), [8], [9, 10]]),
        ("random_80_20", [2304, 256, 640], [range(1, 11)] * 3),
    ],
)
@pytest.mark.parametrize("layout", ["{name}", "lsa64_cut/all_cut/{name}", "LSA64/{sign}/{name}"])
def test_lsa64_counts_and_layouts(variant, counts, signers, layout):
    assert len(LSA64_NAMES) == 3200
    names = [layout.format(name=name, sign=name[:3]) for name in LSA64_NAMES]
    listing = lsa64.read(FOLDER, below([*names, "readme.txt"]), variant)
    assert sizes(listing) == counts
    labels = lsa64.label_names()
    for split, expected, count in zip(SPLITS, signers, counts, strict=True):
        clips = listing.found[split]
        assert {int(clip.signer) for clip in clips} == set(expected)
        assert {labels.index(clip.label) + 1 == int(clip.id[:3]) for clip in clips} == {True}
        assert Counter(clip.label for clip in clips) == dict.fromkeys(labels, count // 64)
    every = [clip.id for split in SPLITS for clip in listing.found[split]]
    assert sorted(every) == [name.removesuffix(".mp4") for name in LSA64_NAMES]


def test_lsa64_draw_does_not_depend_on_what_is_there():
    whole = lsa64.read(FOLDER, below(LSA64_NAMES), "random_80_20")
    part = lsa64.read(FOLDER, below(LSA64_NAMES[::3]), "random_80_20")
    for split in SPLITS:
        found = {clip.id for clip in part.found[split]}
        assert found <= {clip.id for clip in whole.found[split]}
        assert len(found) + len(part.missing[split]) == len(whole.found[split])


def test_lsa64_names():
    names = lsa64.label_names()
    assert len(names) == len(set(names)) == 64
    assert names[26:28] == ["Apellido (Last name)", "Donde (Where)"]  # one official table swaps
    assert lsa64.label_names(upstream=True) == ["(unused)", *names]


@pytest.mark.parametrize("name", ["065_001_001.mp4", "001_011_001.mp4", "001_001_000.mp4"])
def test_lsa64_refuses_names_of_another_dataset(name):
    with raises(SourceError, where=str(FOLDER), problem=name, advice="064_010_005"):
        lsa64.read(FOLDER, below([*LSA64_NAMES, name]), "signer_independent")


def test_lsa64_raw_and_cut_in_one_folder():
    names = ["all/001_001_001.mp4", "all_cut/001_001_001.mp4"]
    with raises(SourceError, problem="all/001_001_001.mp4 and all_cut/001_001_001.mp4"):
        lsa64.read(FOLDER, below(names), "signer_independent")


# Real clips, built and read back


def numbers(example):
    """The numbers of the frames that the loader reads."""
    # Three samples a frame: none is passed over.
    cfg = PreprocessConfig(num_frames=3 * int(example["num_frames"]), resolution=224)
    # Of the three test crops, the first is as wide as the frame and holds its top, the barcode.
    views, *_ = example_views(example, cfg, "pyav", "test", None)
    return sorted({read_barcode(frame) for frame in views[0]})


def check(example, num_frames, height, width, fps):
    assert (example["height"], example["width"]) == (height, width)
    assert example["num_frames"] == num_frames
    assert example["fps"] == pytest.approx(fps, rel=1e-6)
    if "frames" in example:
        assert len(example["frames"]) == num_frames
        image = cv2.imdecode(np.frombuffer(example["frames"][-1], np.uint8), 1)
        assert min(image.shape[:2]) == min(256, height, width)
        assert read_barcode(image) == num_frames - 1


STORAGES = ["", "-original"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("variant", ["full", "include50"])
def test_include_is_built(tmp_path, clip_files, capsys, variant, storage):
    extra = next(p for p in include.listed(variant, "train") if "/Extra/" in p)
    paths = {split: include.listed(variant, split)[0] for split in ("validation", "test")}
    paths["train"] = extra
    source, out = tmp_path / "INCLUDE", tmp_path / "out"
    put(source, [paths["train"], paths["validation"].replace(".MOV", ".mp4")], clip_files["i"])
    put(source, [paths["test"]], clip_files["i"])
    name = f"include/{variant}{storage}"
    info, examples = build(name, source, out, "--max_missing", "0.9999")
    assert info.features["label"].num_classes == {"full": 263, "include50": 50}[variant]
    for split, path in paths.items():
        assert list(examples[split]) == [path]
        example = examples[split][path]
        check(example, 3, 1080, 1920, 25)
        assert info.features["label"].names[example["label"]] == include.word_name(path)
        assert example["signer"] == b""
    if storage:
        assert examples["train"][extra]["video"] == clip_files["i"]
    stored = metadata(out, name)
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


@pytest.mark.parametrize("storage", STORAGES)
def test_autsl_is_built(tmp_path, clip_files, storage):
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    put_autsl(source, clip_files)
    info, examples = build(f"autsl/rgb{storage}", source, out)
    assert [list(examples[split]) for split in SPLITS] == [
        ["signer0_sample1", "signer0_sample2"],
        ["signer1_sample1"],
        ["signer6_sample1"],
    ]
    assert [e["label"] for of in examples.values() for e in of.values()] == [41, 2, 3, 4]
    example = examples["train"]["signer0_sample1"]
    check(example, 5, 512, 512, 30)
    assert example["signer"] == b"0"
    assert info.metadata["signers"] == {"train": ["0"], "validation": ["1"], "test": ["6"]}
    assert info.metadata["missing"] == {"train": {}, "validation": {}, "test": {}}
    assert numbers(example) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("base", ["", "-upstream"])
@pytest.mark.parametrize("variant", ["trimmed", "original"])
def test_bukva_is_built(tmp_path, clip_files, variant, base, storage):
    rows = [row for row in bukva_rows(3, 1) if row[2] in "ЁЯ"]
    source, out = tmp_path / "bukva", tmp_path / "out"
    write_tsv(source, rows)
    put(source, [f"trimmed/{row[0]}" for row in rows], clip_files["b"])
    put(source, [f"original/{row[0]}" for row in rows], clip_files["o"])
    info, examples = build(f"bukva/{variant}{base}{storage}", source, out)
    assert info.features["label"].num_classes == (34 if base else 33)
    assert [len(examples[split]) for split in SPLITS] == [2, 2, 2]
    labels = [example["label"] for example in examples["test"].values()]
    assert labels == ([1, 33] if base else [0, 32])
    assert ("no_event" in info.metadata["missing_labels"]["test"]) == bool(base)
    example = examples["test"]["id-2-0"]
    if variant == "trimmed":
        check(example, 4, 1920, 1080, 30)
        assert numbers(example) == [0, 1, 2, 3]
    else:
        # begin and end are 2 and 5, both included.
        assert (example["num_frames"], example["height"], example["width"]) == (4, 320, 180)
        assert numbers(example) == [2, 3, 4, 5]
        assert ("first_frame" in example) == bool(storage)
    if storage:
        assert example["video"] == clip_files["b" if variant == "trimmed" else "o"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("base", ["", "-upstream"])
@pytest.mark.parametrize("variant", lsa64.METHODS)
def test_lsa64_is_built(tmp_path, clip_files, variant, base, storage):
    by_split = defaultdict(list)
    for name, split in lsa64.listed(variant).items():
        by_split[split].append(name)
    names = [by_split[split][-1] for split in SPLITS]  # of the last sign
    source, out = tmp_path / "lsa64", tmp_path / "out"
    put(source, [f"all_cut/{name}.mp4" for name in names], clip_files["l"])
    config = f"lsa64/{variant}{base}{storage}"
    info, examples = build(config, source, out, "--max_missing", "0.9999")
    assert [list(examples[split]) for split in SPLITS] == [[name] for name in names]
    example = examples["test"][names[2]]
    check(example, 3, 1080, 1920, 60_000 / 1_001)
    assert example["signer"].decode() == names[2].split("_")[1]
    assert example["label"] == int(names[2][:3]) - (not base)
    assert info.features["label"].names[example["label"]] == "Encontrar (Find)"
    assert info.features["label"].num_classes == (65 if base else 64)


# Clips that are missing or damaged


def autsl_of(source, clip_files, num_train):
    """AUTSL with `num_train` training clips and one each for the other splits."""
    rows = [f"signer0_sample{i},{i}" for i in range(1, num_train + 1)]
    autsl_source(source, "\r\n".join(rows).encode())
    clips = [row.split(",")[0] for row in rows] + ["signer1_sample1", "signer6_sample1"]
    for clip in clips:
        put(source, [f"{clip}_color.mp4"], clip_files["a"])


def test_few_unusable_clips_are_left_out_and_named(tmp_path, clip_files, monkeypatch, capsys):
    monkeypatch.setattr(clip_builder, "CLIPS_PER_SHARD", 2)
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    autsl_of(source, clip_files, 5)
    (source / "signer0_sample2_color.mp4").unlink()
    # The last shard of the split is this clip alone.
    put(source, ["signer0_sample5_color.mp4"], clip_files["a"][:2000])
    _, examples = build("autsl/rgb", source, out, "--max_missing", "0.4")
    assert list(examples["train"]) == [f"signer0_sample{i}" for i in (1, 3, 4)]
    stored = metadata(out, "autsl/rgb")
    assert stored["num_listed"] == {"train": 5, "validation": 1, "test": 1}
    reasons = stored["missing"]["train"]
    assert reasons["signer0_sample2"] == "no such file"
    assert list(reasons) == ["signer0_sample2", "signer0_sample5"]
    assert "is not a video, is damaged" in reasons["signer0_sample5"]
    printed = capsys.readouterr().out
    left_out = "2 excluded (missing, damaged or on no list: see metadata.json)"
    assert f"train: 3 clips, signers: 1, {left_out}" in printed
    # A damaged clip shows no sign: its label is among those that the split has no clip of.
    names = autsl.label_names()
    assert stored["missing_labels"]["train"] == sorted({*names} - {names[i] for i in (1, 3, 4)})
    assert f"no clip of 223 labels: {', '.join([names[0], *names[2:3], *names[5:8]])}, …" in printed


def test_clips_on_no_list_are_named(tmp_path, clip_files, caplog):
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    put_autsl(source, clip_files)
    more = [f"train/signer0_sample{i}_color.mp4" for i in range(10, 17)]
    put(source, more, b"must not be read")
    build("autsl/rgb", source, out)
    assert f"7 clip(s) are on no list, and left out: {', '.join(more[:5])}, …" in caplog.text
    assert metadata(out, "autsl/rgb")["unlisted"] == more


def test_archives_are_looked_for_only_when_clips_are_missing(tmp_path, clip_files, monkeypatch):
    """Of those that were unpacked and kept there may be tens of gigabytes."""
    source = tmp_path / "AUTSL"
    put_autsl(source, clip_files)
    put(source, ["train.zip"])
    monkeypatch.setattr(public_dataset, "unpack_hint", lambda files: pytest.fail("looked"))
    build("autsl/rgb", source, tmp_path / "out")


def test_a_cut_off_label_file(tmp_path, clip_files, caplog):
    """It names four of five training clips; a fifth of the split is lacking."""
    num_clips = {"train": 5, "validation": 1, "test": 1}
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    autsl_of(source, clip_files, 5)
    labels = source / "train_labels.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:4]))
    with raises(
        UnusableClipsError, problem="1 clips of train are on no list", advice="1 of 5 in train"
    ):
        build("autsl/rgb", source, out, "--max_missing", "0.19", num_clips=num_clips)
    build("autsl/rgb", source, out, "--max_missing", "0.2", num_clips=num_clips)
    assert "train: 4 clips listed, 5 in the official split" in caplog.text
    assert "1 clip(s) are on no list, and left out: signer0_sample5_color.mp4" in caplog.text
    dataset = open_dataset("autsl/rgb", str(out))
    assert MissingClips.from_dataset(dataset, "train").num_unlisted == 1
    with raises(UnusableClipsError, advice="1 of 5 in train"):  # of what was built before, too
        build("autsl/rgb", source, out, "--max_missing", "0.1")


@pytest.mark.parametrize("options", [["--max_missing", "0.39"], []])
def test_more_unusable_clips_are_refused(tmp_path, clip_files, options):
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    autsl_of(source, clip_files, 5)
    (source / "signer0_sample2_color.mp4").unlink()
    put(source, ["signer0_sample5_color.mp4"], b"text")
    with raises(UnusableClipsError, problem="signer0_sample2: no such file") as caught:
        build("autsl/rgb", source, out, *options)
    error = caught.value
    if options:
        assert "\nsigner0_sample5: " in error.problem
        assert "2 of 5 in train; of each split 39.000% may be left out" in error.advice
    else:  # before anything is decoded
        assert "1 of 5 in train; of each split 0.500% may be left out" in error.advice
    assert not list(out.glob("autsl/**/*.json"))


def test_the_bound_holds_for_each_split(tmp_path, clip_files):
    """One of seven clips is missing, but it is the test split's only one."""
    source = tmp_path / "AUTSL"
    autsl_of(source, clip_files, 5)
    (source / "signer6_sample1_color.mp4").unlink()
    with raises(UnusableClipsError, advice="1 of 1 in test"):
        build("autsl/rgb", source, tmp_path / "out", "--max_missing", "0.5")


def test_nothing_found_says_what_is_expected(tmp_path):
    put(tmp_path / "in", ["Adjectives_1of8.zip"])
    with raises(SourceError, problem="none of 4,284 clips found", advice=("WORD/MVI", "1 archive")):
        build("include/full", tmp_path / "in", tmp_path / "out")


def test_a_sign_beyond_the_end_of_its_clip(tmp_path, clip_files):
    """The last frame may be given as the number of frames; more is an error."""
    rows = [row for row in bukva_rows(3, 1) if row[2] in "ЁЯ"]
    source, out = tmp_path / "bukva", tmp_path / "out"
    put(source, [f"original/{row[0]}" for row in rows], clip_files["o"])
    rows[-1][3:5] = ["6", "8"]
    write_tsv(source, rows)
    _, examples = build("bukva/original", source, out)
    assert numbers(examples["test"]["id-2-32"]) == [6, 7]
    rows[-1][4] = "9"
    write_tsv(source, rows)
    with raises(
        UnusableClipsError, problem="id-2-32: has 8 frames, but the sign is listed in frames 6 to 9"
    ):
        build("bukva/original", source, tmp_path / "other")


@pytest.mark.parametrize("size", ["vitb", "vitl"])
@pytest.mark.parametrize("name", ["include", "autsl", "bukva", "lsa64"])
def test_shipped_configs_name_what_is_built(tmp_path, name, size):
    config = importlib.import_module(f"configs.{name}_{size}").get_config()
    dataset, variant = config.data.name.split("/")
    builder_cls = importlib.import_module(DATASETS[dataset]).Builder
    assert next(iter(builder_cls.builder_configs)) == variant
    builder = builder_cls(config=variant, data_dir=tmp_path, file_format="array_record")
    assert builder.info.features["label"].num_classes == config.model.num_classes
    assert builder.info.citation.startswith("@")
    assert "content.data-type.video" in builder_cls.get_metadata().tags
    assert set(builder_cls.get_metadata().tags) <= set(valid_tags())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recordings", "--max_missing", "0.1"], "--max_missing has no effect on recordings"),
        (["autsl/rgb", "--max_missing", "1"], "expected a share from 0 to below 1, got 1"),
        (["autsl/rgb", "--max_missing", "nan"], "expected a share from 0 to below 1, got nan"),
        (["autsl/rgb", "--max_missing", "x"], "x"),
        (["autsl/depth"], "unknown config 'depth' of autsl; one of: rgb, rgb-original"),
    ],
)
def test_wrong_use_exits_with_2(tmp_path, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        run([*arguments, "--manual_dir", str(tmp_path)])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
