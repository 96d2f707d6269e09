"""The lock of a workdir, and obstacles in it."""

import errno
import pathlib

import pytest

from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.workdir import lock_workdir
from tests.helpers.errors import raises


@pytest.mark.linux
def test_lock_workdir_in_unwritable_place_raises(config):
    with raises(where="--workdir /proc/run"):
        train_and_evaluate(config, pathlib.Path("/proc/run"))


@pytest.mark.parametrize(
    ("name", "put", "message"),
    [
        (
            "checkpoints",
            lambda path: path.symlink_to("gone"),
            ("folder", "link to gone"),
        ),
        ("tensorboard", pathlib.Path.touch, ("folder", "")),
        ("metrics.jsonl", pathlib.Path.mkdir, ("file", "")),
    ],
)
def test_lock_workdir_with_obstacle_names_it(config, tmp_path, name, put, message):
    put(tmp_path / name)
    expected, found = message
    with raises(where=str(tmp_path / name), expected=expected, found=found):
        train_and_evaluate(config, tmp_path)


def test_lock_workdir_twice_raises(config, tmp_path):
    with lock_workdir(tmp_path), raises(where=f"--workdir {tmp_path}", problem="lock"):
        train_and_evaluate(config, tmp_path)


def test_lock_workdir_on_disk_without_locks_warns(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with lock_workdir(tmp_path):
        assert (tmp_path / ".lock").exists()
    (record,) = caplog.records
    assert record.args == (tmp_path, "No locks available")


@pytest.mark.parametrize("name", ["run[1]", "r*n", "run?", "back\\slash"])
def test_lock_workdir_with_a_path_that_orbax_takes_for_a_pattern_raises(tmp_path, name):
    with raises(where=name, found=str(tmp_path / name)), lock_workdir(tmp_path / name / "run"):
        pass
    assert not list(tmp_path.iterdir())
