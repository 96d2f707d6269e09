"""Tests of the folder of checkpoints."""

import os
import pathlib
import tempfile

import pytest

from dstadapter_jax.checkpoints.folder import quarantine


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs another disk")
def test_quarantine_moves_checkpoint_between_disks(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other_disk:
        (tmp_path / "checkpoints").symlink_to(other_disk)
        metrics = tmp_path / "checkpoints/7/metrics/metrics"
        metrics.parent.mkdir(parents=True)
        metrics.touch()
        quarantine(tmp_path / "checkpoints", 7, "it is empty")
        assert not list(pathlib.Path(other_disk).iterdir())
    assert (tmp_path / "corrupt_checkpoints/7/metrics/metrics").is_file()
