"""Environment of the tests, a small dataset of real clips, and a tiny run on it."""

import atexit
import os
import pathlib
import shutil
import sys
import tempfile

# The environment of all tests and of the processes that they start, set before JAX starts. The
# suite's time is mostly compilation, half of which optimizes programs: by default they are compiled
# without. JAX_DISABLE_MOST_OPTIMIZATIONS=0 compiles them as users do; CI sets it where exact values
# are compared. All workers share one compilation cache.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jax_cache_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from dstadapter_jax import DSTAdapter
from dstadapter_jax.training.loop import train_and_evaluate
from tests.helpers.builds import build
from tests.helpers.clips import write_clip
from tests.helpers.dataset_trees import write_clips
from tests.helpers.golden import load_golden_model
from tests.helpers.runs import write_config_file

SIGNERS, LABELS, TAKES = 5, 3, 3


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `linux` on other systems."""
    if item.get_closest_marker("linux") and sys.platform != "linux":
        pytest.skip("needs Linux")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A CSV and 45 clips of 12 to 14 frames: a block moves at one of three heights."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    rows = ["path,label,signer"]
    for signer in range(SIGNERS):
        for label in range(LABELS):
            for take in range(TAKES):
                frames = np.zeros((12 + take, 48, 64, 3), np.uint8)
                frames += rng.integers(0, 60, 3).astype(np.uint8)
                for i, frame in enumerate(frames):
                    x = 40 * i // len(frames)
                    frame[4 + 14 * label : 16 + 14 * label, x : x + 16] = (220, 120, 40 * signer)
                name = f"s{signer}_l{label}_t{take}.mp4"
                write_clip(folder / name, frames)
                rows.append(f"{name},sign {label},person {signer}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="session")
def data_dir(recordings: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Both storages of `recordings`: 27 training, 9 validation and 9 test clips."""
    out = tmp_path_factory.mktemp("data")
    for storage in ("frames", "original"):
        assert build(f"recordings/{storage}", recordings, out) == 0
    return out


@pytest.fixture(scope="session")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Clips encoded like those of the published datasets, by name."""
    return write_clips(tmp_path_factory.mktemp("clips"))


def tiny_config(data_dir: pathlib.Path) -> ConfigDict:
    """Config of a model with 33,667 parameters, trained for four epochs of six steps."""
    config = common.get_config()
    config.model.update(
        num_classes=LABELS, input_resolution=32, patch_size=8, num_frames=4, width=32
    )
    config.model.update(layers=2, heads=2, dtype="float32", activation="quick_gelu")
    config.pretrained = ""
    config.pretrained_revision = ""
    config.num_epochs, config.batch_size, config.log_every_steps = 4, 4, 2
    config.optimizer.base_batch_size = 4
    config.validate_every_epochs, config.validate_last_epochs = 2, 1
    config.data.name, config.data.dir = "recordings/frames", str(data_dir)
    config.data.num_threads = 2
    return config


@pytest.fixture
def config(data_dir: pathlib.Path) -> ConfigDict:
    """The tiny config; tests may change it."""
    return tiny_config(data_dir)


@pytest.fixture
def config_file(config: ConfigDict, tmp_path: pathlib.Path) -> str:
    """The test's config as a file, for `launch.py`."""
    return write_config_file(config, tmp_path)


@pytest.fixture(scope="session")
def golden_model() -> DSTAdapter:
    """The tiny reference model; not to be changed."""
    return load_golden_model()


@pytest.fixture(scope="session")
def run_dir(data_dir: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Workdir of a finished, uninterrupted run; not to be changed."""
    workdir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train_and_evaluate(tiny_config(data_dir), workdir)
    return workdir
