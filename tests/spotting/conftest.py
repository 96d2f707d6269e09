"""A run with spotting settings, and a video of signs."""

import pathlib
import shutil

import numpy as np
import pytest

from dstadapter_jax import calibrate
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.spotting.synthetic import BackgroundFootage, ComposedStream
from tests.helpers.clips import write_clip
from tests.helpers.streams import CFG


@pytest.fixture(scope="session")
def calibrated(run_dir, tmp_path_factory) -> pathlib.Path:
    """Run with spotting settings."""
    workdir = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run_dir, workdir)
    assert calibrate.main(["--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture(scope="session")
def video(data_dir, tmp_path_factory) -> pathlib.Path:
    """Video of all test clips in a row."""
    dataset = open_dataset("recordings/frames", str(data_dir))
    source = dataset.source("test")
    stream = ComposedStream(
        [source[i] for i in range(9)], "pyav", CFG, BackgroundFootage(None, CFG), seed=1
    )
    path = tmp_path_factory.mktemp("stream") / "long.mp4"
    write_clip(path, np.stack([frame for _, frame in stream]))
    return path
