"""A run with a backbone file, and its adapter file."""

import pathlib

import pytest
from ml_collections import ConfigDict

from dstadapter_jax import evaluate
from dstadapter_jax.export.__main__ import main as export
from tests.conftest import tiny_config
from tests.helpers.adapters import SIZES, save_run, write_tower


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("private-folder")


@pytest.fixture(scope="session")
def pretrained_config(folder, data_dir) -> ConfigDict:
    """Config of a tiny run with a backbone file."""
    config = tiny_config(data_dir)
    config.pretrained = str(write_tower(folder / "tower.safetensors", SIZES))
    return config


@pytest.fixture(scope="session")
def evaluated_run(folder, pretrained_config) -> pathlib.Path:
    """Run with one checkpoint that was evaluated on the test split."""
    workdir = save_run(pretrained_config, folder / "run")
    assert evaluate.main(["--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture(scope="session")
def signs(folder, evaluated_run) -> pathlib.Path:
    """Adapter file of `evaluated_run`."""
    path = folder / "signs.safetensors"
    arguments = ["--workdir", str(evaluated_run), "-o", str(path), "--license", "CC-BY-4.0"]
    assert export(["adapter", *arguments, "--language", "gsg"]) == 0
    return path
