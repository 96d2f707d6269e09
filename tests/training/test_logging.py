"""What a run tells of itself: TensorBoard's files, Weights & Biases, and what it waited for."""

import json
import pathlib
import shutil
import struct
import sys
import threading
import time

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from dstadapter_jax.errors import ConfigError
from dstadapter_jax.training.logging import RunLog, check_wandb
from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.timing import StepTimer
from tests.helpers.errors import raises


def read_events(folder: pathlib.Path) -> list[Event]:
    """The events of the one file in a folder, its checksums checked: the TFRecord format."""
    (path,) = folder.iterdir()
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        data = content[12 : 12 + length]
        sums = content[8:12] + content[12 + length : 16 + length]
        assert struct.unpack("<II", sums) == (masked_crc32c(content[:8]), masked_crc32c(data))
        events.append(Event.FromString(data))
        content = content[16 + length :]
    return events


def scalars(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_gets_what_the_log_gets(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    found = scalars(run_dir / "tensorboard")
    assert set(found) == {name for row in rows for name in row} - {"step", "epoch", "time"}
    for name in ("loss", "learning_rate", "val_top1", "data_seconds", "host_gb"):
        # Event files hold 32-bit floats.
        expected = [(row["step"], pytest.approx(row[name])) for row in rows if name in row]
        assert found[name] == expected
    events = read_events(run_dir / "tensorboard")
    starts = [event for event in events if event.session_log.status == SessionLog.START]
    assert [event.step for event in starts] == [0]
    others = [event for event in events if event.summary.value]
    assert sorted({event.wall_time for event in others}) == [row["time"] for row in rows]


def test_a_resumed_run_shows_each_step_once(run_dir, config, tmp_path):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/24")  # as if killed at its end, and in mid-write
    (events,) = (workdir / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-700])
    train_and_evaluate(config, workdir)
    again, unbroken = scalars(workdir / "tensorboard"), scalars(run_dir / "tensorboard")
    for name in ("loss", "learning_rate", "val_top1"):
        assert again[name] == unbroken[name]


def test_archive_stale_log_ahead_of_checkpoints_is_kept(run_dir, config, tmp_path, caplog):
    rows = (run_dir / "metrics.jsonl").read_bytes()
    for number, kept in enumerate(("metrics.jsonl.bak", "metrics.jsonl.bak-1")):
        shutil.copytree(run_dir / "tensorboard", tmp_path / "tensorboard", dirs_exist_ok=True)
        (tmp_path / "metrics.jsonl").write_bytes(rows)
        # Steps 7 to 24 were done after it, and an epoch has six.
        with RunLog(tmp_path, config, step=6 * number, validation_pending=False):
            pass
        assert (tmp_path / kept).read_bytes() == rows
        assert (tmp_path / "metrics.jsonl", 6 * number, tmp_path / kept) in [
            record.args for record in caplog.records
        ]
    assert scalars(tmp_path / "tensorboard.bak") == scalars(run_dir / "tensorboard")


def test_archive_stale_log_without_rows_keeps_tensorboard(run_dir, config, tmp_path, caplog):
    shutil.copytree(run_dir / "tensorboard", tmp_path / "tensorboard")
    with RunLog(tmp_path, config, step=24, validation_pending=False):
        pass
    assert [record.args[1] for record in caplog.records] == [24]
    assert scalars(tmp_path / "tensorboard.bak") == scalars(run_dir / "tensorboard")


def test_archive_stale_log_of_a_killed_run_keeps_nothing(run_dir, config, tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_bytes((run_dir / "metrics.jsonl").read_bytes())
    with RunLog(tmp_path, config, step=18, validation_pending=False):
        pass
    (tmp_path / "new").mkdir()
    with RunLog(tmp_path / "new", config, step=1, validation_pending=False):
        pass
    assert not list(tmp_path.rglob("*.bak*"))
    assert not caplog.text


def test_without_its_package_weights_and_biases_is_refused(config, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    config.wandb_project = "signs"
    with raises(ConfigError, where="config.wandb_project", expected="'signs'"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run/checkpoints").exists()


def test_weights_and_biases_gets_what_the_log_gets(config, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config.wandb_project = "signs"
    check_wandb(config.wandb_project)
    losses = (1.53125, 1.21875)
    for step, loss in enumerate(losses):
        with RunLog(tmp_path, config, step=step, validation_pending=False) as log:
            log.write(step=step + 1, epoch=0.5, loss=loss)
        assert wandb.run is None
    run_id = (tmp_path / "wandb_id.txt").read_text().strip()
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    for path, loss in zip(files, losses, strict=True):
        content = path.read_bytes()
        for text in ("signs", "loss", str(loss)):
            assert text.encode() in content


class Result:
    """Stands for what a step computes: there once the device has ended it."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def block_until_ready(self) -> None:
        self.ended.wait()


def end(meter: StepTimer, result: Result) -> None:
    result.ended.set()
    while meter._finished_steps < meter._started_steps:
        time.sleep(0.001)


def test_only_a_wait_that_the_device_shares_counts(caplog):
    meter, first = StepTimer(), Result()
    meter.step(first)
    meter.restart()
    begun = time.monotonic()
    with meter.waiting_for_data():
        time.sleep(0.02)  # while the device works at the first step
    with meter.waiting_for_data():
        time.sleep(0.02)
        ended = time.monotonic()
        end(meter, first)
        time.sleep(0.05)  # while it has nothing to do
    with meter.saving():
        time.sleep(0.01)
    second = Result()
    meter.step(second)
    metrics = meter.metrics(batch_size=8)
    now = time.monotonic()
    assert 0.05 <= metrics["data_seconds"] <= now - ended
    assert metrics["save_seconds"] >= 0.01
    total = sum(metrics[f"{part}_seconds"] for part in ("data", "compute", "save"))
    assert now - begun >= total >= 0.1
    assert metrics["clips_per_second"] == pytest.approx(8 / total)
    end(meter, second)
    meter.close()
    assert not caplog.text  # the first line is not yet to be judged by


def test_a_pipeline_that_holds_the_run_back_is_said_once(caplog):
    meter = StepTimer()
    for _ in range(3):
        meter.restart()
        with meter.waiting_for_data():
            time.sleep(0.05)
        result = Result()
        meter.step(result)
        end(meter, result)
        meter.metrics(batch_size=8)
    meter.close()
    assert len(caplog.records) == 1


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_log_that_finds_the_disk_full_says_what_to_do(config, tmp_path):
    with RunLog(tmp_path, config, step=0, validation_pending=False) as log:
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
        with raises(where=str(tmp_path), problem=("step 3", "No space left")):
            log.write(step=3, epoch=1.0, loss=0.5)
