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
    found, _ = splits.make(Recordings(some))
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


SPLIT_ERRORS = {
    "given splits": (
        """path,label,signer,split
a.mp4,hi,anna,train
b.mp4,hi,anna,test
c.mp4,bye,ben,test
d.mp4,no,cem,train
""",
        [
            "no clip in validation",
            "label bye: only in test",
            "label no: only in train",
            "signer anna: in train and test",
        ],
    ),
    "never in train": (
        """path,label,split
a.mp4,hi,train
b.mp4,hi,test
c.mp4,bye,val
d.mp4,bye,test
""",
        ["label bye: only in validation and test"],
    ),
    "two signers": (
        "path,label,signer\na.mp4,hi,anna\nb.mp4,hi,ben\n",
        ["2 signer(s): anna, ben"],
    ),
    "label of one signer": (
        "path,label,signer\na.mp4,hi,anna\nb.mp4,hi,ben\nc.mp4,hi,cem\nd.mp4,bye,cem\n",
        ["label bye: only in"],
    ),
    "few clips": (
        "path,label\na.mp4,hi\nb.mp4,hi\nc.mp4,bye\n",
        ["bye: 1 clip(s)", "hi: 2 clip(s)"],
    ),
}


@pytest.mark.parametrize(("text", "problems"), SPLIT_ERRORS.values(), ids=SPLIT_ERRORS)
def test_make_unfit_splits_lists_all_problems(source, text, problems):
    put(source, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"])
    (source / "list.csv").write_text(text)
    recordings = read_listed(source / "list.csv")
    with raises(SourceError) as caught:
        splits.make(recordings)
    for found, problem in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(problem)
