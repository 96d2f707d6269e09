"""Leave-one-signer-out cross-validation."""

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
from dstadapter_jax.errors import ConfigError
from dstadapter_jax.parallel.signals import Interrupted
from dstadapter_jax.training import cross_validation
from dstadapter_jax.training.resume import RunMismatchError
from dstadapter_jax.training.trainer import Trainer
from tests.conftest import tiny_config
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.errors import raises
from tests.helpers.html_page import Page
from tests.helpers.runs import write_config_file
from tfds_builders import __main__ as tfds_builders

ROOT = pathlib.Path(__file__).parents[2]
SPLITS = ("train", "validation", "test")

# `ml_collections` loads config files by a deprecated method.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module.. method:DeprecationWarning")


def test_cross_validate_of_dataset_without_signers_raises(tmp_path, config):
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


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_cross_validate_stopped_resumes_and_reports_all_folds(
    short_config, tmp_path, monkeypatch, capsys
):
    workdir, trained = tmp_path / "runs", []
    update = Trainer.update

    def updated(run):
        update(run)
        trained.append((run.config.data.test_signer, run.step))
        if trained == [("../ann", 1), ("../ann", 2), ("ben <b>", 1)]:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "update", updated)
    with pytest.raises(Interrupted) as interrupted:
        cross_validation.cross_validate(short_config, workdir)
    assert interrupted.value.step == 1
    so_far = json.loads((workdir / "leave_one_signer_out.json").read_text())
    assert list(so_far["signers"]) == ["../ann"]
    page = Page(workdir / "leave_one_signer_out.html")
    assert "2 signers not evaluated yet" in page.text
    folders = {
        name: workdir / cross_validation.fold_name(name) for name in ("../ann", "ben <b>", "cem")
    }
    assert folders["../ann"] == workdir / "signer_..%2Fann"
    before = files_of(folders["../ann"])

    # Resume by the command.
    arguments = ["--config", write_config_file(short_config, tmp_path), "--workdir", str(workdir)]
    assert command.main(arguments) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert trained == [(name, step) for name in folders for step in (1, 2)]
    assert files_of(folders["../ann"]) == before
    assert json.loads((workdir / "leave_one_signer_out.json").read_text()) == printed
    assert list(printed["signers"]) == list(folders)
    top1 = []
    for name, folder in folders.items():
        result = json.loads((folder / "eval_test.json").read_text())
        assert printed["signers"][name] == result
        assert result["test_signer"] == name
        assert result["num_clips"] == 3
        assert result["shared_signers"] == {}
        assert list(result["signers"]) == [name]
        top1.append(result["top1"])
    assert printed["mean"]["top1"] == pytest.approx(sum(top1) / 3)
    assert printed["worst_signer"] == list(folders)[top1.index(min(top1))]

    page = Page(workdir / "leave_one_signer_out.html")
    reports = ["signer_..%252Fann", "signer_ben%2520%253Cb%253E", "signer_cem"]
    page.check([f"{folder}/report_test.html" for folder in reports])
    assert {"../ann", "ben <b>", "cem"} <= set(page.texts)
    report = Page(folders["ben <b>"] / "report_test.html")
    report.check()
    assert "leave-one-signer-out: ben <b> test, cem validation, all others train" in report.text

    # A third start has nothing to do; another run is refused.
    assert cross_validation.cross_validate(short_config, workdir) == printed
    assert len(trained) == 6
    short_config.optimizer.learning_rate = 0.5
    with raises(RunMismatchError, fields={"optimizer.learning_rate": (0.001, 0.5)}):
        cross_validation.cross_validate(short_config, workdir)

    # A fold's workdir is evaluated like any other, on its own test split.
    assert evaluate.main(["--workdir", str(folders["cem"])]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == printed["signers"]["cem"]


@pytest.mark.slow
def test_cross_validate_killed_resumes_to_identical_results(short_config, tmp_path):
    expected = cross_validation.cross_validate(short_config, tmp_path / "uninterrupted")
    workdir = tmp_path / "runs"
    arguments = ["--config", write_config_file(short_config, tmp_path), "--workdir", str(workdir)]
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


def test_cross_validate_with_foreign_results_raises(short_config, data_dir, tmp_path):
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


def test_fold_name_is_short_and_unique():
    signers = ["a/b", "a%2Fb", "..", "", "a b", "Ё" * 300, "Ё" * 299 + "Ж", "x" * 201, "con\0"]
    names = [cross_validation.fold_name(signer) for signer in signers]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) < 255
        assert pathlib.Path(name).name == name
        assert name.isascii()
        assert name.isprintable()
