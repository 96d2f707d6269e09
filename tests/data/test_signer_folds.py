"""Regrouping of a dataset's clips by signer."""

import json
import shutil

import pytest

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_clips
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.signer_folds import all_signers, leave_one_out
from dstadapter_jax.evaluation.results import MissingClips
from tests.helpers.builds import run
from tests.helpers.dataset_trees import put_autsl
from tests.helpers.errors import raises

SPLITS = ("train", "validation", "test")
SIGNERS = ["person 0", "person 1", "person 2", "person 3", "person 4"]


def clips_of(dataset):
    """Signers of the clips of each split by id."""
    sources = {split: dataset.source(split) for split in SPLITS}
    return {
        split: {source[i]["id"].decode(): source[i]["signer"].decode() for i in range(len(source))}
        for split, source in sources.items()
    }


@pytest.mark.parametrize("place", range(5))
def test_leave_one_out_tests_one_signer_and_validates_on_the_next(data_dir, place):
    stored = open_dataset("recordings/frames", str(data_dir))
    dataset = open_dataset("recordings/frames", str(data_dir), SIGNERS[place])
    clips, before = clips_of(dataset), clips_of(stored)
    following = SIGNERS[(place + 1) % 5]
    assert set(clips["test"].values()) == {SIGNERS[place]}
    assert set(clips["validation"].values()) == {following}
    assert set(clips["train"].values()) == set(SIGNERS) - {SIGNERS[place], following}
    assert {split: len(ids) for split, ids in clips.items()} == dataset.num_clips
    assert dataset.num_clips == {"train": 27, "validation": 9, "test": 9}
    every = {clip: signer for ids in clips.values() for clip, signer in ids.items()}
    assert every == {clip: signer for ids in before.values() for clip, signer in ids.items()}
    assert dataset.signers == {
        "train": [s for s in SIGNERS if s not in (SIGNERS[place], following)],
        "validation": [following],
        "test": [SIGNERS[place]],
    }


def test_train_clips_of_a_fold_are_the_regrouped_ones(data_dir):
    dataset = open_dataset("recordings/frames", str(data_dir), "person 2")
    cfg = PreprocessConfig(num_frames=4, resolution=32)
    clips = train_clips(dataset, cfg, batch_size=1, num_epochs=1, seed=0, decoder="pyav")
    assert sorted(clip["id"] for clip in clips) == sorted(clips_of(dataset)["train"])


def test_open_dataset_with_unknown_signer_raises(data_dir):
    with raises(where="config.data.test_signer", expected="person 0, ", found="'person 7'"):
        open_dataset("recordings/frames", str(data_dir), "person 7")


@pytest.fixture(scope="module")
def autsl(clip_files, tmp_path_factory):
    """AUTSL with signers 0, 1 and 6; one of the two clips of signer 0 is corrupt."""
    source, out = tmp_path_factory.mktemp("AUTSL"), tmp_path_factory.mktemp("data")
    put_autsl(source, clip_files)
    (source / "train/train/signer0_sample2_color.mp4").write_bytes(b"")
    arguments = ["--manual_dir", str(source), "--data_dir", str(out), "--max_missing", "0.5"]
    assert run(["autsl/rgb", *arguments]) == 0
    return out


def test_leave_one_out_moves_missing_clips_with_their_signer(autsl):
    for signer, split in (("0", "test"), ("6", "validation"), ("1", "train")):
        dataset = open_dataset("autsl/rgb", str(autsl), signer)
        missing = {s: MissingClips.from_dataset(dataset, s).ids.tolist() for s in SPLITS}
        assert missing == {name: [] for name in SPLITS} | {split: ["signer0_sample2"]}


def test_leave_one_out_with_unrecorded_signers_raises(autsl, tmp_path):
    shutil.copytree(autsl, tmp_path / "copy")
    path = tmp_path / "copy/autsl/rgb/1.0.0/metadata.json"
    metadata = json.loads(path.read_text())
    for changed in (
        {name: value for name, value in metadata.items() if name != "missing_clip_signers"},
        metadata | {"num_unlisted": {"test": 1}},
    ):
        path.write_text(json.dumps(changed))
        with raises(expected="the signer of every clip"):
            open_dataset("autsl/rgb", str(tmp_path / "copy"), "0")


def test_leave_one_out_with_two_signers_raises(autsl):
    dataset = open_dataset("autsl/rgb", str(autsl))
    del dataset.metadata["signers"]["test"][:]
    assert all_signers(dataset) == ["0", "1"]
    with raises(expected="at least 3", found="0, 1"):
        leave_one_out(dataset, "0")
