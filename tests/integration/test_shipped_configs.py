"""Shipped configs train on their datasets, given only --config.data.dir.

The clips are few, but have the names, folders, encodings and lists of the real ones; the model is
small.
"""

import json

import numpy as np
import pytest

import launch
from dstadapter_jax.data.datasets import open_dataset
from tests.helpers import dataset_trees
from tests.helpers.builds import run

# A dataset with one sign per file, in both patch sizes, and one with longer files; the configs of
# the others differ in the dataset's name and the network's size, which is replaced by a small one.
TRAINED = ("autsl_vitb", "autsl_vitl", "bukva_vitb")
#  labels, clips of train / validation / test, height, width, frames a second
BUILT = {
    "include": (263, [3, 1, 1], 1080, 1920, 25),
    "autsl": (226, [2, 1, 1], 512, 512, 30),
    "bukva": (33, [2, 2, 2], 1920, 1080, 22.5),
    "lsa64": (64, [2, 1, 1], 1080, 1920, 60_000 / 1_001),
}
NAMES = {
    "include": "include/full",
    "autsl": "autsl/rgb",
    "bukva": "bukva/trimmed",
    "lsa64": "lsa64/signer_independent",
}
# 112 is a multiple of the patch sizes 16 and 14.
SMALL = {"input_resolution": 112, "width": 32, "layers": 2, "heads": 2}

# `ml_collections` loads config files by a deprecated method.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module.. method:DeprecationWarning")


@pytest.fixture(scope="module")
def built(clip_files, tmp_path_factory):
    """All four datasets, built by their READMEs' commands, with more missing clips allowed."""
    out = tmp_path_factory.mktemp("built")
    for dataset, name in NAMES.items():
        source = tmp_path_factory.mktemp(dataset)
        getattr(dataset_trees, f"put_{dataset}")(source, clip_files)
        arguments = [name, "--manual_dir", str(source), "--data_dir", str(out)]
        assert run([*arguments, "--max_missing", "0.9999"]) == 0
    return out


@pytest.mark.parametrize("dataset", BUILT)
def test_open_dataset_reads_built_clips(built, dataset):
    labels, counts, height, width, fps = BUILT[dataset]
    found = open_dataset(NAMES[dataset], str(built))
    assert len(found.label_names) == labels
    assert list(found.num_clips.values()) == counts
    for split in found.num_clips:
        for example in found.source(split):
            assert (example["height"], example["width"]) == (height, width)
            assert example["fps"] == pytest.approx(fps, rel=1e-6)
            assert len(example["frames"]) == example["num_frames"]


@pytest.mark.slow
@pytest.mark.parametrize("config", TRAINED)
def test_launch_with_shipped_config_trains_and_evaluates(built, tmp_path, capsys, config):
    dataset = config.split("_")[0]
    labels, counts, *_ = BUILT[dataset]
    arguments = ["--config", f"configs/{config}.py", f"--config.data.dir={built}"]
    options = {f"model.{field}": value for field, value in SMALL.items()}
    options |= {"pretrained": "", "batch_size": 1, "num_epochs": 1}
    arguments += [f"--config.{field}={value}" for field, value in options.items()]
    # --num_processes=1: JAX has started in this process, so it can't look for other processes.
    assert launch.main([*arguments, "--workdir", str(tmp_path), "--num_processes=1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["dataset"] == NAMES[dataset]
    assert result["split"] == "test"
    assert result["num_clips"] - result["num_missing"] == counts[2]
    assert result["step"] == counts[0]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [counts[0]] * 2
    assert 0 < lines[0]["loss"] < 2 * np.log(labels)
    assert 0 <= lines[1]["val_top1"] <= 1
    scores = np.load(tmp_path / "scores_test.npz")
    assert scores["probabilities"].shape == (counts[2], labels)
    labels_of = [
        example["label"] for example in open_dataset(NAMES[dataset], str(built)).source("test")
    ]
    assert scores["labels"].tolist() == labels_of
