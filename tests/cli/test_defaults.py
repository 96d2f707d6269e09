"""Places that the user did not pass."""

import pathlib

import pytest
from tensorflow_datasets.core import constants

from configs import common
from dstadapter_jax.cli.config_flags import define_config_flags
from dstadapter_jax.cli.defaults import choose_workdir, default_data_dir, fill_data_dir
from dstadapter_jax.cli.paths import PathError
from tests.helpers.errors import raises
from tests.helpers.processes import ROOT


def parsed_flags(file: str, *arguments: str):
    from absl import flags

    argv = [f"--config={ROOT}/configs/{file}", *arguments]
    values = define_config_flags(argv)
    flags.DEFINE_string("workdir", None, "", values)
    values(["command", *argv])
    return values


@pytest.mark.parametrize("place", [None, "/data", "here", ""])
def test_default_data_dir_is_that_of_tfds(place, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    if place is not None:
        monkeypatch.setenv("TFDS_DATA_DIR", place)
    assert default_data_dir() == pathlib.Path(constants.get_default_data_dir())


def test_default_data_dir_expands_a_home(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "~/data")
    assert default_data_dir() == pathlib.Path.home() / "data"


@pytest.mark.parametrize(
    ("given", "environment", "expected", "note"),
    [
        ("given", "/environment", "given", "in given"),
        ("", "/environment", "/environment", "in /environment (TFDS_DATA_DIR)"),
        ("", None, "/home/x/tensorflow_datasets", "in /home/x/tensorflow_datasets (default)"),
    ],
)
def test_fill_data_dir_prefers_the_flag_to_the_environment(
    given, environment, expected, note, monkeypatch, caplog
):
    caplog.set_level("INFO")
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    if environment:
        monkeypatch.setenv("TFDS_DATA_DIR", environment)
    config = common.get_config()
    config.data.update(name="autsl/rgb", dir=given)
    fill_data_dir(config)
    assert config.data.dir == expected
    assert caplog.messages == [f"dataset autsl/rgb {note}"]


@pytest.mark.parametrize(
    ("file", "suffix", "expected"),
    [
        ("autsl_vitl.py", "", "runs/autsl_vitl"),
        ("common.py:vit_l14", "", "runs/common"),
        ("demo.py", "_folds", "runs/demo_folds"),
    ],
)
def test_choose_workdir_without_flag_is_named_after_the_config_file(file, suffix, expected):
    assert choose_workdir(parsed_flags(file), suffix) == pathlib.Path(expected)


def test_choose_workdir_with_flag_is_that_folder():
    values = parsed_flags("demo.py", "--workdir", "~/run")
    assert choose_workdir(values, "_folds") == pathlib.Path.home() / "run"
    with raises(PathError, where="--workdir"):
        choose_workdir(parsed_flags("demo.py", "--workdir="))
