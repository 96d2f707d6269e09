"""Clips that a dataset lacks count as wrong: figures by hand, on datasets that are really built."""

import json

import numpy as np
import pytest

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.errors import UserError
from dstadapter_jax.evaluation.bootstrap import share_interval
from dstadapter_jax.evaluation.results import EvaluationResult, MissingClips
from dstadapter_jax.evaluation.run import evaluate
from dstadapter_jax.evaluation.scores import score_split
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.initialization import init_model
from dstadapter_jax.training.trainer import Trainer
from tests.conftest import tiny_config
from tests.helpers.builds import run
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.errors import raises
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.include import index as include

# Labels by split; the first clip of each has no file, the last one's is damaged.
LABELS = {
    "train": [5, 1, 1, 2, 2, 4],
    "validation": [7, 0, 3, 6],
    "test": [0, 0, 0, 3, 9, 2],
}
SIGNERS = {"train": 0, "validation": 1, "test": 6}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    source, out = tmp_path_factory.mktemp("AUTSL"), tmp_path_factory.mktemp("data")
    clip = source / "clip.mp4"
    write_clip(clip, barcoded_frames(5, 64, 64), codec="mpeg4")
    content = clip.read_bytes()
    clip.unlink()
    for split, labels in LABELS.items():
        names = [f"signer{SIGNERS[split]}_sample{i}" for i in range(1, len(labels) + 1)]
        rows = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
        (source / f"{split}_labels.csv").write_text("\r\n".join(rows))
        for name in names[1:]:
            damaged = name == names[-1]
            (source / f"{name}_color.mp4").write_bytes(content[: 300 if damaged else None])
    arguments = ["--manual_dir", str(source), "--data_dir", str(out), "--max_missing", "0.5"]
    assert run(["autsl/rgb", *arguments]) == 0
    return out


def in_order(name, data_dir):
    """A model of no eyes: label 0 before label 1 before label 2, whatever the clip."""
    dataset = open_dataset(name, str(data_dir))
    classes = len(dataset.label_names)
    config = tiny_config(data_dir)
    config.data.name = name
    config.model.num_classes = classes
    return Recognizer(
        probabilities=lambda clips: np.tile(np.arange(classes, 0, -1.0), (len(clips), 1)),
        model=init_model(ModelConfig(**config.model), seed=0),
        label_names=dataset.label_names,
        preprocess=PreprocessConfig(num_frames=4, resolution=32),
        config=config.to_dict(),
        step=0,
        backbone=BackboneRef(),
    )


def test_missing_clips_of_a_built_dataset_have_labels_and_signers(data_dir):
    dataset = open_dataset("autsl/rgb", str(data_dir))
    for split, labels in LABELS.items():
        assert dataset.num_clips[split] == len(labels) - 2
        left_out = MissingClips.from_dataset(dataset, split)
        assert left_out.labels.tolist() == [labels[0], labels[-1]]
        assert left_out.signers.tolist() == [str(SIGNERS[split])] * 2


def test_evaluate_counts_missing_clips_as_wrong(data_dir, tmp_path):
    result = evaluate(in_order("autsl/rgb", data_dir), tmp_path, "test")
    # Six clips; right are two of label 0, whose third is missing, and label 3 is among the best 5.
    assert {key: result[key] for key in ("num_clips", "num_missing")} == {
        "num_clips": 6,
        "num_missing": 2,
    }
    assert result["top1"] == pytest.approx(2 / 6)
    assert result["top5"] == pytest.approx(3 / 6)
    assert result["mean_class_accuracy"] == pytest.approx(2 / 3 / 226)
    assert result["num_unavailable"] == 0
    assert json.loads((tmp_path / "eval_test.json").read_text()) == result


def test_evaluate_counts_missing_clips_for_signers_and_intervals(data_dir, tmp_path):
    result = evaluate(in_order("autsl/rgb", data_dir), tmp_path, "test")
    assert result["signers"]["6"]["num_clips"] == 6
    assert result["signers"]["6"]["top1"] == pytest.approx(2 / 6)
    assert result["intervals"]["over_clips"]["top1"] == list(share_interval(2, 6))
    results = EvaluationResult.load(tmp_path / "scores_test.npz")
    assert results.missing.ids.tolist() == ["signer6_sample1", "signer6_sample6"]
    assert results.ids.tolist() == [f"signer6_sample{i}" for i in (2, 3, 4, 5, 1, 6)]
    assert results.metrics() == {key: result[key] for key in results.metrics()}
    page = (tmp_path / "report_test.html").read_text()
    assert "2 of 6 clips are missing, damaged or not listed: they count as wrong" in page
    assert "signer6_sample6" in page


def test_validate_counts_missing_clips_as_wrong(data_dir, tmp_path):
    config = tiny_config(data_dir)
    config.data.name, config.model.num_classes, config.batch_size = "autsl/rgb", 226, 2
    run = Trainer(config, tmp_path)
    metrics = run.validate(lambda: None)
    scores = score_split(run.recognizer(), run.dataset, "validation", mode="validation")
    ranks = np.argsort(-scores.probabilities, axis=1)
    hits = ranks == np.array(LABELS["validation"][1:-1])[:, None]
    assert metrics["val_top1"] == hits[:, 0].sum() / 4
    assert metrics["val_top5"] == hits[:, :5].sum() / 4
    run.batches.close()


def test_evaluate_reports_unpublished_clips_without_counting_them(tmp_path):
    source = tmp_path / "INCLUDE"
    for split in ("train", "validation", "test"):
        path = source / include.listed("full", split)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, barcoded_frames(3, 64, 64))
    arguments = ["--manual_dir", str(source), "--data_dir", str(tmp_path / "data")]
    assert run(["include/full", *arguments, "--max_missing", "0.9999"]) == 0
    result = evaluate(in_order("include/full", tmp_path / "data"), tmp_path, "test")
    assert (result["num_clips"], result["num_missing"]) == (816, 815)
    assert result["num_unavailable"] == 1


def test_missing_clips_without_labels_raises(data_dir, tmp_path):
    path = data_dir / "autsl/rgb/1.0.0/metadata.json"
    written = path.read_text()
    metadata = json.loads(written)
    del metadata["missing_clip_labels"]
    path.write_text(json.dumps(metadata))
    try:
        with raises(UserError, where="missing_clip_labels: test", found="0 clips"):
            MissingClips.from_dataset(open_dataset("autsl/rgb", str(data_dir)), "test")
    finally:
        path.write_text(written)


def test_main_stricter_bound_refuses_an_existing_dataset(data_dir, capsys):
    arguments = ["autsl/rgb", "--manual_dir", str(data_dir), "--data_dir", str(data_dir)]
    with raises(UnusableClipsError, where=str(data_dir), advice="--max_missing"):
        run([*arguments, "--max_missing", "0.1"])
    assert run([*arguments, "--max_missing", "0.5"]) == 0
