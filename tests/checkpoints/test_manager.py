"""Which checkpoints are kept, which one is called the best, and which ones are no good."""

import os
import pathlib
import resource
import shutil
import tempfile
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
    quarantine,
    wrap_errors,
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


def test_the_best_validated_and_the_newest_two_are_kept(tmp_path):
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


def test_of_equals_the_later_is_the_best_and_without_validation_the_last(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        assert checkpoints.find_step("best") == 1
        save(checkpoints, 2, 0.5)
        save(checkpoints, 3, 0.5)
        assert checkpoints.find_step("best") == 3


@pytest.mark.parametrize("top1", [None, 0.25])
def test_a_step_is_written_again_only_to_add_its_metrics(tmp_path, top1):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        checkpoints.wait()
        before = (tmp_path / "checkpoints/1").stat().st_mtime_ns
        save(checkpoints, 1, top1)
        checkpoints.wait()
        assert ((tmp_path / "checkpoints/1").stat().st_mtime_ns != before) == (top1 is not None)
        assert (tmp_path / "checkpoints/1/metrics").exists() == (top1 is not None)


class Killed(BaseException):
    """Stands for the moment after which nothing is done any more."""


def test_killed_while_a_step_is_written_again_its_old_checkpoint_is_there(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise Killed

    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
    with Checkpointer(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", killed)
        monkeypatch.setattr("dstadapter_jax.checkpoints.superseded.recover", killed)
        with pytest.raises(Killed):
            save(checkpoints, 1, 0.5)
    monkeypatch.undo()
    with Checkpointer(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
        assert checkpoints.metadata(1)["step"] == 1
        save(checkpoints, 1, 0.5)
        # Killed once more, when only the removal of the old one is missing.
        shutil.copytree(tmp_path / "checkpoints/1", tmp_path / "checkpoints/1.superseded")
        assert checkpoints.metadata(1)["step"] == 1
    with Checkpointer(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert (tmp_path / "checkpoints/1/metrics").exists()


def test_a_step_that_cannot_be_written_again_keeps_its_old_checkpoint(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no room")

    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        checkpoints.wait()
        monkeypatch.setattr(checkpoints._manager, "save", fail)
        with raises(CheckpointError, problem=("step 1", "no room")):
            save(checkpoints, 1, 0.5)
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]


def restore(checkpoints: Checkpointer, step: int) -> None:
    like = {"w": jnp.zeros((100, 300)), "b": jnp.zeros(3)}
    checkpoints.restore_training(step, like, {"m": jnp.zeros(3), "count": jnp.int32(0)})


def flip_a_bit(step: pathlib.Path) -> None:
    """In the middle of the largest file, among the weights, where Orbax notices nothing."""
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
def test_damage_does_not_pass_unnoticed(tmp_path, damage, reason):
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


def test_a_checkpoint_under_another_steps_name_is_not_believed(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 24, None)
    (tmp_path / "checkpoints/24").rename(tmp_path / "checkpoints/99")
    with (
        Checkpointer(tmp_path) as checkpoints,
        raises(CorruptCheckpointError, problem=("step 99", "step 24")),
    ):
        checkpoints.metadata(99)


@pytest.mark.parametrize("read_only", [True, False])
def test_what_a_power_loss_left_half_written_is_passed_over(tmp_path, read_only):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5)
    half = tmp_path / "checkpoints/2.orbax-checkpoint-tmp/metrics"
    half.mkdir(parents=True)
    (half / "metrics").touch()
    with Checkpointer(tmp_path, read_only=read_only) as checkpoints:
        assert checkpoints.steps() == [1]
    assert not (tmp_path / "corrupt_checkpoints").exists()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_with_a_steps_name_is_no_checkpoint(tmp_path, read_only):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5)
    (tmp_path / "checkpoints/31").touch()
    with Checkpointer(tmp_path, read_only=read_only) as checkpoints:
        assert checkpoints.steps() == [1]
        assert checkpoints.find_step("last") == checkpoints.find_step("best") == 1


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs another disk")
def test_a_damaged_checkpoint_is_moved_from_another_disk(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other_disk:
        (tmp_path / "checkpoints").symlink_to(other_disk)
        metrics = tmp_path / "checkpoints/7/metrics/metrics"
        metrics.parent.mkdir(parents=True)
        metrics.touch()
        quarantine(tmp_path / "checkpoints", 7, "it is empty")
        assert not list(pathlib.Path(other_disk).iterdir())
    assert (tmp_path / "corrupt_checkpoints/7/metrics/metrics").is_file()


def test_without_any_readable_metrics_nothing_is_moved(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5)
        save(checkpoints, 2, 0.5)
    for step in "12":
        (tmp_path / "checkpoints" / step / "metrics/metrics").write_bytes(b"\0\0")
    with raises(CorruptCheckpointError, where=str(tmp_path), advice="--workdir"):
        Checkpointer(tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]


def test_metrics_that_the_system_cannot_read_are_not_damaged(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        save(checkpoints, 2, 0.5)
    metrics = tmp_path / "checkpoints/2/metrics/metrics"
    metrics.unlink()
    metrics.mkdir()  # which can't be read by root either
    with pytest.raises(IsADirectoryError, match="checkpoints/2/metrics/metrics"):
        Checkpointer(tmp_path)
    assert (tmp_path / "checkpoints/2").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("1 TB"),
        jax.errors.JaxRuntimeError("UNAVAILABLE"),
        ValueError("UNKNOWN: Gloo AllGather failed"),
    ],
)
def test_neither_memory_nor_a_dead_process_is_the_disks_fault(error):
    with pytest.raises(type(error)) as raised, wrap_errors("DIR", "reading", "Check the disk."):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("broken", ["a file", "nothing"])
def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path, broken):
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


def test_a_checkpoint_is_as_large_as_three_times_what_is_trained(tmp_path):
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
    # As after training: zeros would be compressed to nothing.
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
    # Noise is compressed by 7 %; 200 kB are Orbax's own.
    assert 0.9 * 3 * trained < on_disk < 3 * trained + 200e3


def test_a_save_that_fails_in_mid_write_leaves_the_one_before(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        save(checkpoints, 1, None)
        checkpoints.wait()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            # No file may grow beyond this, which is how a full disk looks to who writes.
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
