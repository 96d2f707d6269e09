"""A small dataset of real clips, built once by the real builder, and a config that fits it."""

import atexit
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

# Before JAX starts, here and in the children that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests' time is mostly the compiler's, half of which goes into making programs fast. With 0
# they are compiled as everybody else's are.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # A program that one process has compiled is there for all others.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jax_cache_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from dstadapter_jax.training.loop import train_and_evaluate
from tests.helpers.clips import write_clip
from tests.helpers.dataset_trees import write_clips
from tfds_builders import __main__ as tfds_builders
from tfds_builders.autsl import index as autsl
from tfds_builders.bukva import index as bukva

SIGNERS, LABELS, TAKES = 5, 3, 3


@pytest.fixture(scope="session", autouse=True)
def short_lists() -> Iterator[None]:
    """Lists of a few clips are as long as they should be."""
    with pytest.MonkeyPatch.context() as patch:
        for index in (autsl, bukva):
            patch.setattr(index, "NUM_CLIPS", {})
        yield


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """45 clips of 12 to 14 frames: a block that moves at one of three heights, and a CSV."""
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
    """Both storages of `recordings`, 27 training clips and 9 each for validation and test."""
    out = tmp_path_factory.mktemp("data")
    for storage in ("frames", "original"):
        arguments = ["--manual_dir", str(recordings), "--data_dir", str(out)]
        assert tfds_builders.main([f"recordings/{storage}", *arguments]) == 0
    return out


@pytest.fixture(scope="session")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Clips like the published datasets', by name."""
    return write_clips(tmp_path_factory.mktemp("clips"))


def tiny_config(data_dir: pathlib.Path) -> ConfigDict:
    """A network of 33,667 parameters for four epochs of six steps."""
    config = common.get_config()
    config.model.update(
        num_classes=LABELS, input_resolution=32, patch_size=8, num_frames=4, width=32
    )
    config.model.update(layers=2, heads=2, dtype="float32")
    config.pretrained = ""
    config.pretrained_revision = ""
    config.num_epochs, config.batch_size, config.log_every_steps = 4, 4, 2
    config.validate_every_epochs, config.validate_last_epochs = 2, 1
    config.data.name, config.data.dir = "recordings/frames", str(data_dir)
    config.data.num_threads = 2
    return config


@pytest.fixture
def config(data_dir: pathlib.Path) -> ConfigDict:
    """The tests' config, for a test to change."""
    return tiny_config(data_dir)


@pytest.fixture
def config_file(config, tmp_path) -> str:
    """The test's config as a file, as `launch.py` wants it."""
    path = tmp_path / "tiny.py"
    path.write_text(
        "from ml_collections import ConfigDict\n\n"
        f"def get_config():\n    return ConfigDict({config.to_dict()!r}).lock()\n"
    )
    return str(path)


@pytest.fixture(scope="session")
def run_dir(data_dir: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The workdir of a whole run that nothing stopped; not to be changed."""
    workdir = tmp_path_factory.mktemp("runs") / "unbroken"
    train_and_evaluate(tiny_config(data_dir), workdir)
    return workdir
