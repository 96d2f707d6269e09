"""LSA64 against names of files."""

from collections import Counter

import pytest

from tests.helpers.errors import raises
from tests.helpers.public_listings import FOLDER, below, sizes
from tfds_builders.listing import SPLITS
from tfds_builders.lsa64 import index as lsa64
from tfds_builders.sources import SourceError

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
def test_read_splits_all_clips_in_all_layouts(variant, counts, signers, layout):
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


def test_read_draw_is_independent_of_missing_files():
    whole = lsa64.read(FOLDER, below(LSA64_NAMES), "random_80_20")
    part = lsa64.read(FOLDER, below(LSA64_NAMES[::3]), "random_80_20")
    for split in SPLITS:
        found = {clip.id for clip in part.found[split]}
        assert found <= {clip.id for clip in whole.found[split]}
        assert len(found) + len(part.missing[split]) == len(whole.found[split])


def test_label_names_are_unique():
    names = lsa64.label_names()
    assert len(names) == len(set(names)) == 64
    assert names[26:28] == ["Apellido (Last name)", "Donde (Where)"]  # one official table swaps
    assert lsa64.label_names(upstream=True) == ["(unused)", *names]


@pytest.mark.parametrize("name", ["065_001_001.mp4", "001_011_001.mp4", "001_001_000.mp4"])
def test_read_unknown_names_raises(name):
    with raises(SourceError, where=str(FOLDER), problem=name, advice="064_010_005"):
        lsa64.read(FOLDER, below([*LSA64_NAMES, name]), "signer_independent")


def test_read_two_files_of_one_clip_raises():
    names = ["all/001_001_001.mp4", "all_cut/001_001_001.mp4"]
    with raises(SourceError, problem="all/001_001_001.mp4 and all_cut/001_001_001.mp4"):
        lsa64.read(FOLDER, below(names), "signer_independent")
