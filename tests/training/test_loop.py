"""Whole runs on real clips: trained, stopped, resumed and evaluated."""

import json
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.evaluation.run import evaluate
from dstadapter_jax.inference.ranking import predict
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.parallel.signals import Interrupted
from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.trainer import Trainer
from tests.helpers.errors import raises
from tests.helpers.runs import metric_rows, trainable_weights


def test_train_and_evaluate_writes_log_results_and_pictures(run_dir, config):
    log = metric_rows(run_dir)
    losses = [row for row in log if "loss" in row]
    validations = [row for row in log if "val_top1" in row]
    assert [row["step"] for row in losses] == list(range(2, 25, 2))
    assert [row["step"] for row in validations] == [12, 24]
    times = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(row["time"] > 1.7e9 for row in times)
    for row in times:
        if "loss" in row:
            parts = row["data_seconds"] + row["compute_seconds"] + row["save_seconds"]
            assert row["clips_per_second"] == pytest.approx(4 / parts)
            assert row["data_seconds"] >= 0
            assert row["compute_seconds"] > 0
            assert 0.05 < row["host_gb"] < 64
    assert any(row.get("save_seconds") for row in times)
    assert losses[-1]["epoch"] == 4
    rates = [row["learning_rate"] for row in losses[::3]]
    expected = 1e-3 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert json.loads((run_dir / "config.json").read_text())["model"]["width"] == 32
    hours = [row["device_hours"] for row in times if "loss" in row]
    assert 0 < hours[0] < hours[-1] < 1
    assert json.loads((run_dir / "trained_parameters.json").read_text())["trained"] == 1475
    result = json.loads((run_dir / "eval_test.json").read_text())
    assert result["num_clips"] == 9
    assert result["split"] == "test"
    for picture in ("curves.png", "confusion_test.png"):
        assert (run_dir / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("step", "signum"),
    [(5, signal.SIGINT), pytest.param(14, signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_train_and_evaluate_stopped_by_signal_resumes_to_identical_result(
    run_dir, config, tmp_path, monkeypatch, step, signum
):
    done = []
    update = Trainer.update

    def counted(self):
        update(self)
        done.append(self.step)
        if self.step == step:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(Trainer, "update", counted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stopped:
        train_and_evaluate(config, tmp_path / "run")
    assert stopped.value.step == step
    assert stopped.value.status == (130 if signum == signal.SIGINT else 0)
    assert signal.getsignal(signal.SIGINT) is handler
    result = train_and_evaluate(config, tmp_path / "run")

    assert done == list(range(1, 25))
    assert result == json.loads((run_dir / "eval_test.json").read_text())
    assert metric_rows(tmp_path / "run") == metric_rows(run_dir)
    jax.tree.map(
        np.testing.assert_array_equal,
        trainable_weights(tmp_path / "run", config, 24),
        trainable_weights(run_dir, config, 24),
    )


def test_train_and_evaluate_stopped_in_validation_validates_on_resume(
    run_dir, config, tmp_path, monkeypatch
):
    validate = Trainer.validate

    def stopped(self, check):
        os.kill(os.getpid(), signal.SIGINT)
        return validate(self, check)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "validate", stopped)
        with pytest.raises(Interrupted) as interrupted:
            train_and_evaluate(config, tmp_path)
    assert interrupted.value.step == 12
    assert metric_rows(tmp_path)[-1]["step"] == 12
    assert "val_top1" not in metric_rows(tmp_path)[-1]
    train_and_evaluate(config, tmp_path)
    assert metric_rows(tmp_path) == metric_rows(run_dir)


def test_train_and_evaluate_workdir_suffices_for_evaluate_and_predict(
    run_dir, recordings, tmp_path
):
    recognizer = Recognizer.load(run_dir)
    assert recognizer.label_names == ("sign 0", "sign 1", "sign 2")
    expected = json.loads((run_dir / "eval_test.json").read_text())
    assert evaluate(recognizer, tmp_path, "test") == expected
    answer = predict(recognizer, str(recordings / "s0_l0_t0.mp4"))
    assert sorted(entry["id"] for entry in answer) == [0, 1, 2]
    assert sum(entry["probability"] for entry in answer) == pytest.approx(1, abs=1e-6)
    probabilities = [entry["probability"] for entry in answer]
    assert probabilities == sorted(probabilities, reverse=True)


def test_train_and_evaluate_after_a_failed_start_begins_anew(config, tmp_path):
    config.pretrained = "nothing.npz"
    with pytest.raises(FileNotFoundError):
        train_and_evaluate(config, tmp_path)
    config.pretrained, config.num_epochs = "", 1
    train_and_evaluate(config, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["pretrained"] == ""


def truncate(split: pathlib.Path) -> None:
    os.truncate(split, split.stat().st_size // 2)


def scramble(split: pathlib.Path) -> None:
    content = bytearray(split.read_bytes())
    content[::997] = b"?" * len(content[::997])
    with split.open("r+b") as file:  # in place, since the run has it open
        file.write(content)


@pytest.mark.parametrize(
    "damage", [truncate, pytest.param(scramble, marks=pytest.mark.slow), pathlib.Path.unlink]
)
def test_train_and_evaluate_with_vanishing_data_keeps_the_last_checkpoint(
    run_dir, config, data_dir, tmp_path, monkeypatch, damage
):
    copy = shutil.copytree(data_dir, tmp_path / "data")
    config.data.dir = str(copy)
    save = Trainer.save

    def damaged_after_the_first(self, checkpoints, metrics=None):
        save(self, checkpoints, metrics)
        if self.step == 6:
            for split in copy.glob("recordings/frames/*/*.array_record*"):
                damage(split)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", damaged_after_the_first)
        with raises(where="/data/recordings/frames/1.0.0", problem="can't be read"):
            train_and_evaluate(config, tmp_path / "run")
    with Checkpointer(tmp_path / "run", read_only=True) as checkpoints:
        assert checkpoints.steps() == [6]
    config.data.dir = str(data_dir)
    assert train_and_evaluate(config, tmp_path / "run")["num_clips"] == 9
    assert metric_rows(tmp_path / "run") == metric_rows(run_dir)
