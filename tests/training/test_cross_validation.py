"""Every signer once the test: regrouped without building anew, and trained for one by one."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from dstadapter_jax import evaluate
from dstadapter_jax import leave_one_signer_out as command
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_clips
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.signer_folds import all_signers, leave_one_out
from dstadapter_jax.errors import ConfigError
from dstadapter_jax.evaluation.results import MissingClips
from dstadapter_jax.parallel.signals import Interrupted
from dstadapter_jax.training import cross_validation
from dstadapter_jax.training.trainer import Trainer
from tests.conftest import tiny_config
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.dataset_trees import put_autsl
from tests.helpers.errors import raises
from tests.helpers.html_page import Page
from tfds_builders import __main__ as tfds_builders

# How ml_collections loads config files.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module.. method:DeprecationWarning")

ROOT = pathlib.Path(__file__).parents[2]
SPLITS = ("train", "validation", "test")
SIGNERS = ["person 0", "person 1", "person 2", "person 3", "person 4"]


def clips_of(dataset):
    """The ids of each split's clips, and their signers."""
    sources = {split: dataset.source(split) for split in SPLITS}
    return {
        split: {source[i]["id"].decode(): source[i]["signer"].decode() for i in range(len(source))}
        for split, source in sources.items()
    }


# Regrouping


@pytest.mark.parametrize("place", range(5))
def test_each_signer_is_the_test_and_the_next_one_validation(data_dir, place):
    stored = open_dataset("recordings/frames", str(data_dir))
    dataset = open_dataset("recordings/frames", str(data_dir), SIGNERS[place])
    clips, before = clips_of(dataset), clips_of(stored)
    following = SIGNERS[(place + 1) % 5]
    assert set(clips["test"].values()) == {SIGNERS[place]}
    assert set(clips["validation"].values()) == {following}
    assert set(clips["train"].values()) == set(SIGNERS) - {SIGNERS[place], following}
    assert {split: len(of) for split, of in clips.items()} == dataset.num_clips
    assert dataset.num_clips == {"train": 27, "validation": 9, "test": 9}
    every = {clip: signer for of in clips.values() for clip, signer in of.items()}
    assert every == {clip: signer for of in before.values() for clip, signer in of.items()}
    assert dataset.signers == {
        "train": [s for s in SIGNERS if s not in (SIGNERS[place], following)],
        "validation": [following],
        "test": [SIGNERS[place]],
    }


def test_training_takes_the_regrouped_clips(data_dir):
    dataset = open_dataset("recordings/frames", str(data_dir), "person 2")
    cfg = PreprocessConfig(num_frames=4, resolution=32)
    clips = train_clips(dataset, cfg, batch_size=1, num_epochs=1, seed=0, decoder="pyav")
    assert sorted(clip["id"] for clip in clips) == sorted(clips_of(dataset)["train"])


def test_signers_that_are_none_are_refused(data_dir):
    with pytest.raises(ValueError, match=r"expected one of person 0, .*, found 'person 7'"):
        open_dataset("recordings/frames", str(data_dir), "person 7")


@pytest.fixture(scope="module")
def autsl(clip_files, tmp_path_factory):
    """Signers 0, 1 and 6; of the two clips of signer 0 one is damaged."""
    source, out = tmp_path_factory.mktemp("AUTSL"), tmp_path_factory.mktemp("data")
    put_autsl(source, clip_files)
    (source / "train/train/signer0_sample2_color.mp4").write_bytes(b"")
    arguments = ["--manual_dir", str(source), "--data_dir", str(out), "--max_missing", "0.5"]
    assert tfds_builders.main(["autsl/rgb", *arguments]) == 0
    return out


def test_clips_left_out_go_with_their_signer(autsl):
    for signer, split in (("0", "test"), ("6", "validation"), ("1", "train")):
        dataset = open_dataset("autsl/rgb", str(autsl), signer)
        left_out = {s: MissingClips.of(dataset, s).ids.tolist() for s in SPLITS}
        assert left_out == {name: [] for name in SPLITS} | {split: ["signer0_sample2"]}


def test_datasets_that_do_not_tell_every_signer_are_refused(autsl, tmp_path):
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


def test_two_signers_are_too_few(autsl):
    dataset = open_dataset("autsl/rgb", str(autsl))
    del dataset.metadata["signers"]["test"][:]
    assert all_signers(dataset) == ["0", "1"]
    with raises(expected="at least 3", found="0, 1"):
        leave_one_out(dataset, "0")


def test_a_dataset_without_signers_has_none_to_leave_out(tmp_path, config):
    for split in SPLITS:
        for label in ("a", "b"):
            path = tmp_path / "in" / f"{split}_{label}.mp4"
            path.parent.mkdir(exist_ok=True)
            write_clip(path, barcoded_frames(2, 32, 32))
    rows = [f"{s}_{label}.mp4,{label},{s}" for s in SPLITS for label in "ab"]
    (tmp_path / "in/list.csv").write_text("\n".join(["path,label,split", *rows]))
    arguments = ["--manual_dir", str(tmp_path / "in"), "--data_dir", str(tmp_path / "out")]
    assert tfds_builders.main(["recordings/frames", *arguments]) == 0
    config.data.dir = str(tmp_path / "out")
    with raises(expected="at least 3", found="none"):
        cross_validation.cross_validate(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# Training


@pytest.fixture(scope="module")
def three_signers(recordings, tmp_path_factory):
    """Three signers with a clip of each sign."""
    source, out = tmp_path_factory.mktemp("three"), tmp_path_factory.mktemp("three_data")
    with (source / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "signer"])
        for number, signer in enumerate(["../ann", "ben <b>", "cem"]):
            for label in range(3):
                name = f"s{number}_l{label}_t0.mp4"
                shutil.copy(recordings / name, source / name)
                writer.writerow([name, f"sign {label}", signer])
    arguments = ["--manual_dir", str(source), "--data_dir", str(out)]
    assert tfds_builders.main(["recordings/frames", *arguments]) == 0
    return out


@pytest.fixture
def short_config(three_signers):
    config = tiny_config(three_signers)
    config.num_epochs, config.batch_size, config.validate_last_epochs = 2, 3, 1
    return config


def write_config(config, folder):
    path = folder / "config.py"
    path.write_text(
        "from ml_collections import ConfigDict\n\n"
        f"def get_config():\n    return ConfigDict({config.to_dict()!r}).lock()\n"
    )
    return str(path)


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_it_goes_on_where_it_was_stopped_and_tells_all(short_config, tmp_path, monkeypatch, capsys):
    workdir, trained = tmp_path / "runs", []
    update = Trainer.update

    def updated(run):
        update(run)
        trained.append((run.config.data.test_signer, run.step))
        if trained == [("../ann", 1), ("../ann", 2), ("ben <b>", 1)]:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "update", updated)
    with pytest.raises(Interrupted, match="after step 1"):
        cross_validation.cross_validate(short_config, workdir)
    by_then = json.loads((workdir / "leave_one_signer_out.json").read_text())
    assert list(by_then["signers"]) == ["../ann"]
    page = Page(workdir / "leave_one_signer_out.html")
    assert "2 signers are still to be trained for" in page.text
    folders = {
        name: workdir / cross_validation.fold_name(name) for name in ("../ann", "ben <b>", "cem")
    }
    assert folders["../ann"] == workdir / "signer_..%2Fann"
    before = files_of(folders["../ann"])

    # As a process of its own would be started again.
    arguments = ["--config", write_config(short_config, tmp_path), "--workdir", str(workdir)]
    assert command.main(arguments) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert trained == [(name, step) for name in folders for step in (1, 2)]
    assert files_of(folders["../ann"]) == before
    assert json.loads((workdir / "leave_one_signer_out.json").read_text()) == told
    assert list(told["signers"]) == list(folders)
    top1 = []
    for name, folder in folders.items():
        of_fold = json.loads((folder / "eval_test.json").read_text())
        assert told["signers"][name] == of_fold
        assert of_fold["test_signer"] == name
        assert of_fold["num_clips"] == 3
        assert of_fold["shared_signers"] == {}
        assert list(of_fold["signers"]) == [name]
        top1.append(of_fold["top1"])
    assert told["mean"]["top1"] == pytest.approx(sum(top1) / 3)
    assert told["worst_signer"] == list(folders)[top1.index(min(top1))]

    page = Page(workdir / "leave_one_signer_out.html")
    reports = ["signer_..%252Fann", "signer_ben%2520%253Cb%253E", "signer_cem"]
    page.check([f"{folder}/report_test.html" for folder in reports])
    assert {"../ann", "ben <b>", "cem"} <= set(page.texts)
    report = Page(folders["ben <b>"] / "report_test.html")
    report.check()
    assert "leave-one-signer-out: ben <b> test, cem validation, all others train" in report.text

    # A third time nothing is left to do; another run isn't taken for this one.
    assert cross_validation.cross_validate(short_config, workdir) == told
    assert len(trained) == 6
    short_config.optimizer.learning_rate = 0.5
    with raises(problem="optimizer.learning_rate"):
        cross_validation.cross_validate(short_config, workdir)

    # A signer's workdir is any run's: it is evaluated on its own test.
    assert evaluate.main(["--workdir", str(folders["cem"])]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == told["signers"]["cem"]


@pytest.mark.slow
def test_killed_and_started_again_it_ends_as_if_never_killed(short_config, tmp_path):
    expected = cross_validation.cross_validate(short_config, tmp_path / "unbroken")
    workdir = tmp_path / "runs"
    arguments = ["--config", write_config(short_config, tmp_path), "--workdir", str(workdir)]
    child = subprocess.Popen(
        [sys.executable, "-m", "dstadapter_jax.leave_one_signer_out", *arguments], cwd=ROOT
    )
    until = time.monotonic() + 300
    second = workdir / cross_validation.fold_name("ben <b>")
    while not list(second.glob("checkpoints/*/metadata")):
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    child.kill()
    child.wait()
    first = files_of(workdir / cross_validation.fold_name("../ann"))
    result = subprocess.run(
        [sys.executable, "-m", "dstadapter_jax.leave_one_signer_out", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == expected
    assert files_of(workdir / cross_validation.fold_name("../ann")) == first
    assert "signer 1 of 3" not in result.stderr
    assert "signer 2 of 3: ben <b>" in result.stderr


def test_what_does_not_belong_there_is_refused(short_config, data_dir, tmp_path):
    record = tmp_path / "leave_one_signer_out.json"
    record.write_text("[]")
    with raises(where=f"{record}: all_signers", expected="'../ann'", found="None"):
        cross_validation.cross_validate(short_config, tmp_path)
    record.write_text("{")
    with raises(where=str(record)):
        cross_validation.cross_validate(short_config, tmp_path)
    short_config.data.test_signer = "cem"
    with raises(ConfigError, where="config.data.test_signer", found="'cem'"):
        cross_validation.cross_validate(short_config, tmp_path)


def test_names_of_folders_are_short_and_of_one_signer_each():
    signers = ["a/b", "a%2Fb", "..", "", "a b", "Ё" * 300, "Ё" * 299 + "Ж", "x" * 201, "con\0"]
    names = [cross_validation.fold_name(signer) for signer in signers]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) < 255
        assert pathlib.Path(name).name == name
        assert name.isascii()
        assert name.isprintable()
