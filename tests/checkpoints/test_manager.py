"""Tests of saving, selecting, verifying and restoring checkpoints."""

import pathlib
import resource
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax import DSTAdapter, ModelConfig
from dstadapter_jax.checkpoints.integrity import (
    CheckpointError,
    CorruptCheckpointError,
)
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.models.partition import count_parameters, partition
from dstadapter_jax.training.optimizer import make_optimizer
from tests.helpers.errors import raises


def save(checkpoints: Checkpointer, step: int, top1: float | None) -> None:
    checkpoints.save(
        step,
        trainable={"w": jnp.full(3, float(step))},
        optimizer={"m": jnp.zeros(3)},
        iterator={"next_index": step},
        metadata={"step": step},
        metrics=None if top1 is None else {"val_top1": top1},
    )


def test_save_keeps_best_and_newest_two(tmp_path):
    top1s = {1: 0.5, 2: 0.9, 3: 0.7, 4: None, 5: 0.8, 6: None}
    with Checkpointer(tmp_path) as checkpoints:
        for step, top1 in top1s.items():
            save(checkpoints, step, top1)
    folders = (tmp_path / "checkpoints").iterdir()
    assert sorted(path.name for path in folders if path.name.isdecimal()) == ["2", "5", "6"]
    with Checkpointer(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.find_step("best") == 2
        assert checkpoints.find_step("last") == checkpoints.steps()[0] == 6
        assert checkpoints.find_step("5") == 5
        restored = checkpoints.restore_trainable(2, {"w": jnp.zeros(3)})
        assert restored["w"].tolist() == [2.0, 2.0, 2.0]


def test_save_of_first_checkpoint_that_cannot_be_read_raises(tmp_path):
    # Orbax takes such a path for a pattern, and loses the arrays; training refuses the path.
    with (
        Checkpointer(tmp_path / "run[1]") as checkpoints,
        raises(CheckpointError, where="run[1]", problem="step 1", advice="--workdir"),
    ):
        save(checkpoints, 1, None)


def test_find_step_best_prefers_later_of_equals_and_last_without_metrics(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        assert checkpoints.find_step("best") == 1
        save(checkpoints, 2, 0.5)
        save(checkpoints, 3, 0.5)
        assert checkpoints.find_step("best") == 3


def test_save_of_saved_step_adds_metrics_and_leaves_arrays(tmp_path):
    folder = tmp_path / "checkpoints/1"
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        checkpoints.wait()
        files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        save(checkpoints, 1, None)
        checkpoints.wait()
        assert checkpoints.metrics(1) is None
        assert not (folder / "metrics").exists()
        save(checkpoints, 1, 0.25)
        assert checkpoints.metrics(1) == {"val_top1": 0.25}
    found = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert found == files | {folder / "metrics/metrics": found[folder / "metrics/metrics"]}
    with Checkpointer(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.metrics(1) == {"val_top1": 0.25}
        assert checkpoints.metadata(1)["step"] == 1


def test_find_step_with_added_metrics_selects_and_keeps_best(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5)
        save(checkpoints, 2, None)
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 2, 0.9)
        assert checkpoints.find_step("best") == 2
        for step in (3, 4, 5):
            save(checkpoints, step, 0.7)
            assert checkpoints.find_step("best") == 2
    with Checkpointer(tmp_path) as checkpoints:
        assert checkpoints.steps() == [5, 4, 2]
        assert checkpoints.find_step("best") == 2


@pytest.mark.parametrize("written", ["folder", "temporary file"])
def test_save_killed_while_adding_metrics_keeps_checkpoint(tmp_path, written):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
    (tmp_path / "checkpoints/1/metrics").mkdir()
    if written == "temporary file":
        (tmp_path / "checkpoints/1/metrics/metrics.tmp").write_text("{")
    with Checkpointer(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
        assert checkpoints.metrics(1) is None
        assert checkpoints.find_step("best") == 1
        save(checkpoints, 1, 0.5)
        assert checkpoints.metrics(1) == {"val_top1": 0.5}
    assert [path.name for path in (tmp_path / "checkpoints/1/metrics").iterdir()] == ["metrics"]


def test_save_that_cannot_add_metrics_keeps_checkpoint(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no room")

    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        monkeypatch.setattr("os.replace", fail)
        checkpoints.wait()
        with raises(CheckpointError, problem="step 1"):
            save(checkpoints, 1, 0.5)
        assert checkpoints.metadata(1)["step"] == 1


def restore(checkpoints: Checkpointer, step: int) -> None:
    target = {"w": jnp.zeros((100, 300)), "b": jnp.zeros(3)}
    checkpoints.restore_training(step, target, {"m": jnp.zeros(3), "count": jnp.int32(0)})


def flip_a_bit(step: pathlib.Path) -> None:
    """Flip a bit among the weights, in the middle of the largest file; Orbax does not detect it."""
    path = max(step.glob("trainable/**/d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_bit, "['w']"),
        (lambda step: (step / "iterator/metadata").write_text('{"next_index": 95}'), "iterator"),
        (lambda step: shutil.rmtree(step / "trainable"), "trainable"),
        (lambda step: shutil.rmtree(step / "metadata"), "metadata"),
        (lambda step: shutil.rmtree(step / "metrics"), "metrics"),
        (lambda step: (step / "metrics/metrics").write_text('{"val_top1": 0.75}'), "metrics"),
        (lambda step: (step / "metadata/metadata").write_text('{"step"'), "delimiter"),
    ],
)
def test_restore_of_corrupt_checkpoint_raises(tmp_path, damage, reason):
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(
            1,
            trainable={"w": jax.random.normal(jax.random.key(0), (100, 300)), "b": jnp.zeros(3)},
            optimizer={"m": jnp.zeros(3), "count": jnp.int32(7)},
            iterator={"next_index": 96},
            metadata={"step": 1},
            metrics={"val_top1": 0.5},
        )
        checkpoints.wait()
        restore(checkpoints, 1)
    damage(tmp_path / "checkpoints/1")
    with (
        Checkpointer(tmp_path, read_only=True) as checkpoints,
        raises(CorruptCheckpointError, where=str(tmp_path), problem=("step 1", reason)),
    ):
        restore(checkpoints, 1)


def test_metadata_of_renamed_checkpoint_raises(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 24, None)
    (tmp_path / "checkpoints/24").rename(tmp_path / "checkpoints/99")
    with (
        Checkpointer(tmp_path) as checkpoints,
        raises(CorruptCheckpointError, problem=("step 99", "step 24")),
    ):
        checkpoints.metadata(99)


@pytest.mark.parametrize("read_only", [True, False])
def test_open_ignores_incomplete_checkpoint(tmp_path, read_only):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5)
    half = tmp_path / "checkpoints/2.orbax-checkpoint-tmp/metrics"
    half.mkdir(parents=True)
    (half / "metrics").touch()
    with Checkpointer(tmp_path, read_only=read_only) as checkpoints:
        assert checkpoints.steps() == [1]
    assert not (tmp_path / "corrupt_checkpoints").exists()


@pytest.mark.parametrize("read_only", [True, False])
def test_open_ignores_file_named_like_a_step(tmp_path, read_only):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5)
    (tmp_path / "checkpoints/31").touch()
    with Checkpointer(tmp_path, read_only=read_only) as checkpoints:
        assert checkpoints.steps() == [1]
        assert checkpoints.find_step("last") == checkpoints.find_step("best") == 1


def test_open_with_all_metrics_unreadable_raises_and_moves_nothing(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5)
        save(checkpoints, 2, 0.5)
    for step in "12":
        (tmp_path / "checkpoints" / step / "metrics/metrics").write_bytes(b"\0\0")
    with raises(CorruptCheckpointError, where=str(tmp_path), advice="--workdir"):
        Checkpointer(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]


def test_open_with_failing_disk_moves_nothing(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        save(checkpoints, 2, 0.5)
    metrics = tmp_path / "checkpoints/2/metrics/metrics"
    metrics.unlink()
    metrics.mkdir()  # even root can't read a folder as a file
    with pytest.raises(IsADirectoryError) as caught:
        Checkpointer(tmp_path)
    assert str(caught.value.filename).endswith("checkpoints/2/metrics/metrics")
    assert (tmp_path / "checkpoints/2").exists()


@pytest.mark.parametrize("broken", ["a file", "nothing"])
def test_save_into_unwritable_folder_raises_at_once(tmp_path, broken):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        checkpoints.wait()
        shutil.rmtree(tmp_path / "checkpoints")
        if broken == "a file":
            (tmp_path / "checkpoints").touch()
        with raises(CheckpointError, where=str(tmp_path), problem="step 2"):
            save(checkpoints, 2, None)
    # A thread that waited for the folder would hold the process for 20 minutes.
    assert not [thread for thread in threading.enumerate() if "save" in thread.name]


def test_save_takes_three_times_the_size_of_trainable_weights(tmp_path):
    sizes = ModelConfig(
        num_classes=20,
        input_resolution=64,
        patch_size=16,
        num_frames=4,
        width=192,
        layers=4,
        heads=4,
    )
    model = nnx.eval_shape(lambda: DSTAdapter(sizes, rngs=nnx.Rngs(0)))
    _, trainable, frozen = partition(model, "adapter")
    optimizer = jax.eval_shape(make_optimizer(1e-3, 0.01, "adapter").init, trainable)
    # Noise as after training: zeros would be compressed to nothing.
    noise = np.random.default_rng(0)
    trainable, optimizer = jax.tree.map(
        lambda leaf: noise.normal(size=leaf.shape).astype(leaf.dtype), (trainable, optimizer)
    )
    with Checkpointer(tmp_path) as checkpoints:
        iterator, metadata = {"next_index": 0}, {"config": {}}
        checkpoints.save(
            1, trainable=trainable, optimizer=optimizer, iterator=iterator, metadata=metadata
        )
    files = (tmp_path / "checkpoints/1").rglob("*")
    on_disk = sum(path.stat().st_size for path in files if path.is_file())
    trained = 4 * count_parameters(trainable)
    assert 4 * count_parameters(frozen) > 10 * trained
    # Noise is compressed by 7 %; 200 kB are Orbax's metadata.
    assert 0.9 * 3 * trained < on_disk < 3 * trained + 200e3


def test_save_that_fails_midway_keeps_previous_checkpoint(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        checkpoints.wait()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            # A limit on file sizes fails like a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
            checkpoints.save(
                2,
                trainable={"w": np.random.default_rng(0).normal(size=200_000)},
                optimizer={"m": np.zeros(3)},
                iterator={},
                metadata={},
            )
            with raises(CheckpointError, problem="File too large"):
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Checkpointer(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
        restored, _, _ = checkpoints.restore_training(1, {"w": jnp.zeros(3)}, {"m": jnp.zeros(3)})
        assert restored["w"].tolist() == [1.0, 1.0, 1.0]
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))
