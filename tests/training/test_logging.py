"""The metrics log, TensorBoard's event files, and Weights & Biases."""

import json
import shutil
import sys

import pytest
from tensorboardX.proto.event_pb2 import SessionLog

from dstadapter_jax.errors import ConfigError
from dstadapter_jax.training.logging import MetricsLog, RunLog, check_wandb
from dstadapter_jax.training.loop import train_and_evaluate
from tests.helpers.errors import raises
from tests.helpers.runs import metric_rows, read_events, tensorboard_scalars

WRONG_TYPES = [
    '{"step": "1", "epoch": 0.5, "loss": 1.0}',
    '{"step": 1, "epoch": 0.5, "loss": "abc"}',
    "[1]",
]


def test_metrics_log_of_a_killed_run_resumes_at_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    names = ("loss", "val_top1", "loss")
    rows = [{"step": n, "epoch": n / 2, k: 1.0} for n, k in zip((2, 2, 3), names, strict=True)]
    for pending, kept in ((False, rows[:2]), (True, rows[:1])):
        lines = [json.dumps(row) for row in rows]
        # Lines as left by crashes and power cuts: incomplete, NULs, empty.
        lines = [
            lines[0],
            '{"step": 1, "lo',
            "\0\0",
            "",
            '{"loss": 1}',
            *WRONG_TYPES,
            *lines[1:],
            '{"step": 4',
        ]
        path.write_text("\n".join(lines))
        (tmp_path / "replaced_metrics.jsonl").unlink(missing_ok=True)
        log = MetricsLog(path, step=2, validation_pending=pending)
        log.write({"step": 3, "epoch": 1.5, "loss": 2.0})
        assert metric_rows(tmp_path) == [*kept, {"step": 3, "epoch": 1.5, "loss": 2.0}]
        replaced = (tmp_path / "replaced_metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in replaced] == rows[len(kept) :]


def test_tensorboard_holds_the_rows_of_the_log(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    found = tensorboard_scalars(run_dir / "tensorboard")
    assert set(found) == {name for row in rows for name in row} - {"step", "epoch", "time"}
    for name in ("loss", "learning_rate", "val_top1", "data_seconds", "host_gb"):
        # Event files hold 32-bit floats.
        expected = [(row["step"], pytest.approx(row[name])) for row in rows if name in row]
        assert found[name] == expected
    events = read_events(run_dir / "tensorboard")
    starts = [event for event in events if event.session_log.status == SessionLog.START]
    assert [event.step for event in starts] == [0]
    others = [event for event in events if event.summary.value]
    assert [event.wall_time for event in others] == [row["time"] for row in rows]


def test_tensorboard_of_a_resumed_run_shows_each_step_once(run_dir, config, tmp_path):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/24")  # as after a kill at the end, during a write
    (events,) = (workdir / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-700])
    train_and_evaluate(config, workdir)
    shown = tensorboard_scalars(workdir / "tensorboard")
    expected = tensorboard_scalars(run_dir / "tensorboard")
    for name in ("loss", "learning_rate", "val_top1"):
        assert shown[name] == expected[name]


def test_run_log_of_a_run_with_lost_checkpoints_keeps_all_rows(run_dir, config, tmp_path):
    written = (run_dir / "metrics.jsonl").read_text().splitlines()
    (tmp_path / "metrics.jsonl").write_text("\n".join(written))
    events = shutil.copytree(run_dir / "tensorboard", tmp_path / "tensorboard")
    files = {path: path.read_bytes() for path in events.iterdir()}
    replaced = []
    for step in (12, 6, 0):  # fewer checkpoints are left at each start
        with RunLog(tmp_path, config, step=step, validation_pending=False):
            pass
        kept = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert kept == [line for line in written if json.loads(line)["step"] <= step]
        replaced = (tmp_path / "replaced_metrics.jsonl").read_text().splitlines()
        assert sorted(kept + replaced) == sorted(written)
        loss = tensorboard_scalars(events)["loss"] if step else []
        assert [at for at, _ in loss] == list(range(2, step + 1, 2))
    assert {path: path.read_bytes() for path in files} == files


def test_run_log_of_a_stopped_run_replaces_no_rows(run_dir, config, tmp_path):
    rows = (run_dir / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(rows)
    with RunLog(tmp_path, config, step=24, validation_pending=False):
        pass
    assert (tmp_path / "metrics.jsonl").read_bytes() == rows
    assert not (tmp_path / "replaced_metrics.jsonl").exists()


def test_check_wandb_without_package_raises(config, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    config.wandb_project = "signs"
    with raises(ConfigError, where="config.wandb_project", expected="'signs'"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run/checkpoints").exists()


def test_weights_and_biases_receives_the_rows_of_the_log(config, tmp_path, monkeypatch):
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


@pytest.mark.linux
def test_run_log_on_full_disk_raises(config, tmp_path):
    with RunLog(tmp_path, config, step=0, validation_pending=False) as log:
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
        with raises(where=str(tmp_path), problem=("step 3", "No space left")):
            log.write(step=3, epoch=1.0, loss=0.5)
