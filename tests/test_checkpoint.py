"""Which checkpoints are kept, and which one is called the best."""

import jax.numpy as jnp
import pytest

from dstadapter_jax.checkpoint import Checkpointer


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
        assert checkpoints.find_step("last") == checkpoints.latest_step() == 6
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
