"""The lock of a workdir, and obstacles in it."""

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
    with lock_workdir(tmp_path), raises(where=f"--workdir {tmp_path}"):
        train_and_evaluate(config, tmp_path)
