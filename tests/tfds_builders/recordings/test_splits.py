"""Splits of recordings."""

from pathlib import Path

import pytest

from tests.helpers.dataset_trees import put
from tests.helpers.errors import raises
from tfds_builders.clip_examples import Clip
from tfds_builders.recordings import splits
from tfds_builders.recordings.contents import Recordings
from tfds_builders.recordings.listed import read_listed
from tfds_builders.sources import SourceError


def clips(*signers_of_label, **counts):
    """Clips `LABEL/SIGNER/i` with `counts[LABEL]` or one a signer."""
    made = [
        Clip(f"{label}/{signer}/{i}", Path(), label, signer)
        for label, signers in signers_of_label
        for signer in signers
        for i in range(counts.get(label, 1))
    ]
    return sorted(made, key=lambda clip: clip.id)


def test_by_signer_splits_are_disjoint_repeatable_and_near_the_shares():
    labels = [(f"l{i}", [f"s{j}" for j in range(40) if (i + j) % 7]) for i in range(30)]
    some = clips(*labels)
    found = splits.by_signer(some)
    signers = [{clip.signer for clip in found[split]} for split in splits.SPLITS]
    assert sum(map(len, signers)) == len(set.union(*signers)) == 40
    assert sorted(clip.id for of in found.values() for clip in of) == [clip.id for clip in some]
    assert all({clip.label for clip in of} == {name for name, _ in labels} for of in found.values())
    # One signer is 2.5 % of the clips: a target is met to half of that.
    assert abs(len(found["test"]) / len(some) - 0.2) < 0.0125
    assert abs(len(found["validation"]) / len(some) - 0.1) < 0.0125
    again = splits.by_signer(some[::-1])
    assert {k: {c.id for c in v} for k, v in again.items()} == {
        k: {c.id for c in v} for k, v in found.items()
    }


def test_make_with_signers_prefers_every_label_in_every_split():
    """Only one division of these six signers has all labels everywhere: {a, b, c, d}, e, f."""
    some = clips(("x", "aef"), ("y", "bef"), ("z", "cef"), ("w", "def"))
    found, _, _ = splits.make(Recordings(some))
    held_out = {found[split][0].signer for split in ("validation", "test")}
    assert held_out == {"e", "f"}
    assert all({clip.label for clip in of} == set("wxyz") for of in found.values())


def test_by_label_draws_a_share_of_each_label_independent_of_others():
    some = clips(("few", ["u"]), ("many", ["u"]), few=3, many=30)
    found = splits.by_label(some)
    count = {
        split: [sum(clip.label == label for clip in of) for label in ("few", "many")]
        for split, of in found.items()
    }
    assert count == {"train": [1, 21], "validation": [1, 3], "test": [1, 6]}
    alone = splits.by_label([clip for clip in some if clip.label == "many"])
    for split, of in alone.items():
        assert of == [clip for clip in found[split] if clip.label == "many"]
    order = [int(clip.id.split("/")[-1]) for clip in alone["test"]]
    assert order != list(range(6)), "the first ones are not a draw"


def test_make_without_signers_counts_labels_in_train_alone():
    some = [
        Clip(f"{label}/{i}", Path(), label)
        for label, n in (("a", 1), ("b", 2), ("c", 9))
        for i in range(n)
    ]
    found, method, warnings = splits.make(Recordings(some))
    assert [clip.label for clip in found["train"]].count("a") == 1
    assert [clip.label for clip in found["train"]].count("b") == 2
    assert {clip.label for split in ("validation", "test") for clip in found[split]} == {"c"}
    (warning,) = warnings
    assert warning.startswith("2 label(s) in train alone")
    assert method.endswith(warning)


GIVEN = {
    "shared signer": (
        "a.mp4,hi,anna,train\nb.mp4,hi,anna,test\nc.mp4,hi,ben,val\n",
        ["1 signer(s) in several splits"],
    ),
    "untrained label": (
        "a.mp4,hi,anna,train\nb.mp4,hi,ben,val\nc.mp4,bye,cem,test\n",
        ["1 label(s) without a clip in train"],
    ),
    "untested label": (
        "a.mp4,hi,anna,train\nb.mp4,hi,ben,val\nc.mp4,hi,cem,test\nd.mp4,no,anna,train\n",
        ["1 label(s) in train alone"],
    ),
}


@pytest.mark.parametrize(("rows", "expected"), GIVEN.values(), ids=GIVEN)
def test_make_takes_the_users_splits_with_warnings(source, rows, expected):
    put(source, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"])
    (source / "list.csv").write_text("path,label,signer,split\n" + rows)
    recordings = read_listed(source / "list.csv")
    found, method, warnings = splits.make(recordings)
    assert sum(map(len, found.values())) == len(recordings.clips)
    for warning, start in zip(warnings, expected, strict=True):
        assert warning.startswith(start)
        assert warning in method


def test_make_with_a_label_of_one_signer_trains_on_it(source):
    rows = ["hi,anna", "hi,ben", "hi,cem", "bye,cem", "hi,dora"]
    put(source, [f"{i}.mp4" for i in range(5)])
    lines = [f"{i}.mp4,{row}" for i, row in enumerate(rows)]
    (source / "list.csv").write_text("\n".join(["path,label,signer", *lines]))
    found, method, warnings = splits.make(read_listed(source / "list.csv"))
    assert {clip.label for clip in found["train"]} == {"hi", "bye"}
    assert any("in train" in warning for warning in warnings)
    assert all(warning in method for warning in warnings)


SPLIT_ERRORS = {
    "no validation": (
        "path,label,split\na.mp4,hi,train\nb.mp4,hi,test\n",
        ["no clip in validation"],
    ),
    "two signers": (
        "path,label,signer\na.mp4,hi,anna\nb.mp4,hi,ben\n",
        ["2 signer(s): anna, ben"],
    ),
    "few clips": (
        "path,label\na.mp4,hi\nb.mp4,hi\nc.mp4,bye\n",
        ["no clip in validation", "no clip in test"],
    ),
}


@pytest.mark.parametrize(("text", "problems"), SPLIT_ERRORS.values(), ids=SPLIT_ERRORS)
def test_make_unfit_splits_lists_all_problems(source, text, problems):
    put(source, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"])
    (source / "list.csv").write_text(text)
    recordings = read_listed(source / "list.csv")
    with raises(SourceError) as caught:
        splits.make(recordings)
    assert caught.value.problems == problems
