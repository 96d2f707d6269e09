"""Missing, damaged and unlisted clips of published datasets."""

import importlib

import pytest
from tensorflow_datasets.core.dataset_metadata import valid_tags

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.evaluation.results import MissingClips
from tests.helpers.builds import build_by_id, read_metadata
from tests.helpers.dataset_trees import (
    autsl_source,
    put,
    put_autsl,
)
from tests.helpers.errors import raises
from tfds_builders import clip_builder, public_dataset
from tfds_builders.autsl import index as autsl
from tfds_builders.datasets import DATASETS
from tfds_builders.excluded import UnusableClipsError


def put_autsl_clips(source, clip_files, num_train):
    """AUTSL with `num_train` training clips and one each for the other splits."""
    rows = [f"signer0_sample{i},{i}" for i in range(1, num_train + 1)]
    autsl_source(source, "\r\n".join(rows).encode())
    clips = [row.split(",")[0] for row in rows] + ["signer1_sample1", "signer6_sample1"]
    for clip in clips:
        put(source, [f"{clip}_color.mp4"], clip_files["a"])


def test_build_few_unusable_clips_excludes_and_names(tmp_path, clip_files, monkeypatch, capsys):
    monkeypatch.setattr(clip_builder, "CLIPS_PER_SHARD", 2)
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    put_autsl_clips(source, clip_files, 5)
    (source / "signer0_sample2_color.mp4").unlink()
    # The last shard of the split is this clip alone.
    put(source, ["signer0_sample5_color.mp4"], clip_files["a"][:2000])
    _, examples = build_by_id("autsl/rgb", source, out, "--max_missing", "0.4")
    assert list(examples["train"]) == [f"signer0_sample{i}" for i in (1, 3, 4)]
    stored = read_metadata(out, "autsl/rgb")
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


def test_build_unlisted_clips_are_named(tmp_path, clip_files, caplog):
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    put_autsl(source, clip_files)
    more = [f"train/signer0_sample{i}_color.mp4" for i in range(10, 17)]
    put(source, more, b"must not be read")
    build_by_id("autsl/rgb", source, out)
    assert f"7 clip(s) are on no list, and left out: {', '.join(more[:5])}, …" in caplog.text
    assert read_metadata(out, "autsl/rgb")["unlisted"] == more


def test_build_without_missing_clips_opens_no_archives(tmp_path, clip_files, monkeypatch):
    """Unpacked archives that were kept may hold tens of gigabytes."""
    source = tmp_path / "AUTSL"
    put_autsl(source, clip_files)
    put(source, ["train.zip"])
    monkeypatch.setattr(public_dataset, "unpack_hint", lambda files: pytest.fail("looked"))
    build_by_id("autsl/rgb", source, tmp_path / "out")


def test_build_truncated_label_file_counts_unlisted_clips(tmp_path, clip_files, caplog):
    """It names four of five training clips; a fifth of the split is lacking."""
    num_clips = {"train": 5, "validation": 1, "test": 1}
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    put_autsl_clips(source, clip_files, 5)
    labels = source / "train_labels.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:4]))
    with raises(
        UnusableClipsError, problem="1 clips of train are on no list", advice="1 of 5 in train"
    ):
        build_by_id("autsl/rgb", source, out, "--max_missing", "0.19", num_clips=num_clips)
    build_by_id("autsl/rgb", source, out, "--max_missing", "0.2", num_clips=num_clips)
    assert "train: 4 clips listed, 5 in the official split" in caplog.text
    assert "1 clip(s) are on no list, and left out: signer0_sample5_color.mp4" in caplog.text
    dataset = open_dataset("autsl/rgb", str(out))
    assert MissingClips.from_dataset(dataset, "train").num_unlisted == 1
    with raises(UnusableClipsError, advice="1 of 5 in train"):  # of what was built before, too
        build_by_id("autsl/rgb", source, out, "--max_missing", "0.1")


@pytest.mark.parametrize("options", [["--max_missing", "0.39"], []])
def test_build_too_many_unusable_clips_raises(tmp_path, clip_files, options):
    source, out = tmp_path / "AUTSL", tmp_path / "out"
    put_autsl_clips(source, clip_files, 5)
    (source / "signer0_sample2_color.mp4").unlink()
    put(source, ["signer0_sample5_color.mp4"], b"text")
    with raises(UnusableClipsError, problem="signer0_sample2: no such file") as caught:
        build_by_id("autsl/rgb", source, out, *options)
    error = caught.value
    if options:
        assert "\nsigner0_sample5: " in error.problem
        assert "2 of 5 in train; of each split 39.000% may be excluded" in error.advice
    else:  # before anything is decoded
        assert "1 of 5 in train; of each split 0.500% may be excluded" in error.advice
    assert not list(out.glob("autsl/**/*.json"))


def test_build_bound_holds_for_each_split(tmp_path, clip_files):
    """One of seven clips is missing, but it is the test split's only one."""
    source = tmp_path / "AUTSL"
    put_autsl_clips(source, clip_files, 5)
    (source / "signer6_sample1_color.mp4").unlink()
    with raises(UnusableClipsError, advice="1 of 1 in test"):
        build_by_id("autsl/rgb", source, tmp_path / "out", "--max_missing", "0.5")


@pytest.mark.parametrize("size", ["vitb", "vitl"])
@pytest.mark.parametrize("name", ["include", "autsl", "bukva", "lsa64"])
def test_shipped_configs_name_the_first_config_of_a_builder(tmp_path, name, size):
    config = importlib.import_module(f"configs.{name}_{size}").get_config()
    dataset, variant = config.data.name.split("/")
    builder_cls = importlib.import_module(DATASETS[dataset]).Builder
    assert next(iter(builder_cls.builder_configs)) == variant
    builder = builder_cls(config=variant, data_dir=tmp_path, file_format="array_record")
    assert builder.info.features["label"].num_classes == config.model.num_classes
    assert builder.info.citation.startswith("@")
    assert "content.data-type.video" in builder_cls.get_metadata().tags
    assert set(builder_cls.get_metadata().tags) <= set(valid_tags())
