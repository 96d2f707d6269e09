"""Losses, weights and probabilities that are not finite end a run and name clips."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data import loader
from dstadapter_jax.evaluation.run import evaluate
from dstadapter_jax.training.diagnostics import NonFiniteError
from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.trainer import Trainer
from tests.helpers.errors import raises
from tests.helpers.runs import metric_rows


def record_training_clips(monkeypatch) -> list[str]:
    """Ids of the training clips, appended as they are loaded."""
    loaded: list[str] = []
    clip_metadata = loader.clip_metadata  # called for training clips only

    def recorded(example, indices):
        loaded.append(example["id"].decode())
        return clip_metadata(example, indices)

    monkeypatch.setattr(loader, "clip_metadata", recorded)
    return loaded


def test_finite_losses_with_infinite_loss_names_its_clips(run_dir, config, tmp_path, monkeypatch):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/24")
    loaded = record_training_clips(monkeypatch)
    config.data.num_threads = 1
    config.optimizer.learning_rate, config.allow_changed = 1e30, "optimizer.learning_rate"
    with raises(NonFiniteError, where="step 20", step=20, problem="loss") as stopped:
        train_and_evaluate(config, workdir)
    assert sorted(stopped.value.clips) == sorted(loaded[4:8])
    assert sorted(stopped.value.previous_clips) == sorted(loaded[:4])
    with Checkpointer(workdir, read_only=True) as checkpoints:
        assert checkpoints.steps() == [18]
    config.optimizer.learning_rate = 1e-3
    train_and_evaluate(config, workdir)
    assert metric_rows(workdir) == metric_rows(run_dir)


def test_save_with_non_finite_weights_raises_and_saves_nothing(config, tmp_path):
    run = Trainer(config, tmp_path)
    with Checkpointer(tmp_path) as checkpoints:
        run.update()
        run.save(checkpoints)
        run.update()
        run.state.trainable["ln_post"]["scale"] *= jnp.inf
        with raises(NonFiniteError, step=2, previous_clips=[]) as error:
            run.save(checkpoints)
        assert len(error.value.clips) == 4
        assert checkpoints.steps() == [1]
    run.close()


def test_evaluate_with_non_finite_probabilities_raises(run_dir, config, tmp_path, monkeypatch):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/24")
    (workdir / "eval_test.json").unlink()
    finite = Trainer.recognizer

    def with_nan(run, *check):
        recognizer = finite(run, *check)
        return dataclasses.replace(
            recognizer, probabilities=lambda clips: recognizer.probabilities(clips) * np.nan
        )

    monkeypatch.setattr(Trainer, "recognizer", with_nan)
    with raises(NonFiniteError, step=24, problem=("9 of the 9 clips", "'validation'")):
        train_and_evaluate(config, workdir)
    with Checkpointer(workdir, read_only=True) as checkpoints:
        assert checkpoints.steps() == [18]
    monkeypatch.undo()
    run = Trainer(config, workdir)
    with pytest.raises(ValueError, match=r"9 of the 9 clips .*'test'.*--step=N.*checkpoints/0"):
        evaluate(with_nan(run), workdir, "test")
    run.close()
    assert not (workdir / "eval_test.json").exists()
