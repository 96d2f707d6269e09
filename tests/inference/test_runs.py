"""The run that commands use by default."""

import os
import shutil

import pytest

from dstadapter_jax.inference.runs import newest_run
from tests.helpers.errors import raises


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def set_times(run, seconds):
    for path in (run, *run.rglob("*")):
        os.utime(path, (seconds, seconds))


def test_newest_run_is_the_one_trained_last(runs, run_dir, caplog):
    caplog.set_level("INFO")
    for name, seconds in (("a", 1000), ("b", 3000), ("c", 2000)):
        set_times(shutil.copytree(run_dir, runs / name), seconds)
    (runs / "a/report_test.html").write_text("evaluated later")
    assert newest_run().name == "b"
    os.utime(runs / "c/metrics.jsonl", (4000, 4000))
    assert str(newest_run()) == "runs/c"
    assert caplog.messages[-1] == "workdir runs/c (newest run)"


def test_newest_run_ignores_folders_without_config_or_checkpoints(runs, run_dir):
    shutil.copytree(run_dir, runs / "whole")
    set_times(runs / "whole", 1000)
    shutil.copytree(run_dir, runs / "folds/signer_a")
    shutil.copytree(run_dir, runs / "no_config", ignore=shutil.ignore_patterns("config.json"))
    (runs / "begun/checkpoints").mkdir(parents=True)
    shutil.copy(run_dir / "config.json", runs / "begun")
    assert newest_run().name == "whole"


def test_newest_run_without_runs_raises(runs):
    with raises(where="--workdir", problem=str(runs), advice=("launch.py", "--workdir RUN")):
        newest_run()
