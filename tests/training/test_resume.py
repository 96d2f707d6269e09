"""Resuming: which runs are the same, and from which checkpoint they resume."""

import gc
import json
import math
import os
import pathlib
import re
import shutil
import threading

import jax
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax import ModelConfig, dump_weights
from dstadapter_jax.checkpoints.integrity import CheckpointError
from dstadapter_jax.errors import ConfigError
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.pretrained.initialization import build_model, init_model
from dstadapter_jax.pretrained.sources import WeightsError
from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.resume import RunMismatchError, check_same_run
from dstadapter_jax.training.trainer import Trainer
from tests.helpers.errors import raises
from tests.helpers.runs import (
    metric_rows,
    trainable_weights,
)


def test_train_and_evaluate_with_backbone_file_keeps_it_and_checks_its_hash(
    config, tmp_path, monkeypatch
):
    weights = tmp_path / "clip.npz"
    source = init_model(ModelConfig(**config.model), seed=7)
    added = ("temporal_embedding", "adapter", "cls_head")
    np.savez(
        weights,
        **{k: v for k, v in dump_weights(source).items() if not any(a in k for a in added)},
    )
    config.pretrained, config.num_epochs = str(weights), 1
    runs = []
    with monkeypatch.context() as patch:
        close = Trainer.close
        patch.setattr(Trainer, "close", lambda run: runs.append(run) or close(run))
        train_and_evaluate(config, tmp_path / "run")
    Recognizer.load(tmp_path / "run")
    # After six real steps: frozen weights are the file's to the last bit, the others moved.
    (run,) = runs
    model, _ = build_model(config)
    after = dump_weights(nnx.merge(nnx.graphdef(model), run.state.trainable, run.frozen))
    start = dump_weights(model)
    for name, value in np.load(weights).items():
        assert np.array_equal(after[name], value) == ("ln_post" not in name), name
    assert not np.array_equal(after["cls_head.fc_cls.weight"], start["cls_head.fc_cls.weight"])

    moved = weights.rename(tmp_path / "moved.npz")
    with raises(WeightsError, where="clip.npz", advice="--backbone FILE"):
        Recognizer.load(tmp_path / "run")
    Recognizer.load(tmp_path / "run", backbone=str(moved))
    config.pretrained = str(moved)
    train_and_evaluate(config, tmp_path / "run")  # the same file elsewhere is the same run
    np.savez(moved, other=np.zeros(1))
    with raises(WeightsError, where=str(moved), expected="SHA-256"):
        Recognizer.load(tmp_path / "run", backbone=str(moved))


def test_train_and_evaluate_in_another_runs_workdir_raises(run_dir, config):
    threads = set(threading.enumerate())
    before = (run_dir / "metrics.jsonl").read_bytes()
    config.optimizer.learning_rate = 0.5
    with raises(
        RunMismatchError, where=str(run_dir), fields={"optimizer.learning_rate": (0.001, 0.5)}
    ):
        train_and_evaluate(config, run_dir)
    assert (run_dir / "metrics.jsonl").read_bytes() == before
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("step timer"):
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_train_and_evaluate_with_allowed_changes_resumes(run_dir, config, tmp_path, caplog):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    config.num_epochs, config.optimizer.learning_rate, config.seed = 5, 5e-4, 1
    config.allow_changed = "num_epochs, optimizer.learning_rate"
    with raises(RunMismatchError, fields={"seed": (0, 1)}):
        train_and_evaluate(config, workdir)
    config.seed = 0
    train_and_evaluate(config, workdir)
    (logged,) = (r.args[0] for r in caplog.records if "num_epochs" in r.getMessage())
    assert re.fullmatch(r"num_epochs: .*4.*5; optimizer.learning_rate: .*0.001.*0.0005", logged)
    log = metric_rows(workdir)
    assert log[: len(metric_rows(run_dir))] == metric_rows(run_dir)
    assert log[-1]["step"] == 30
    assert log[-2]["learning_rate"] == pytest.approx(5e-4 * (1 + math.cos(0.8 * math.pi)) / 2)
    config.allow_changed = ""
    train_and_evaluate(config, workdir)  # the new values are now the run's own
    config.num_epochs = 4
    with raises(RunMismatchError, fields={"num_epochs": (5, 4)}, advice="allow_changed=num_epochs"):
        train_and_evaluate(config, workdir)
    config.allow_changed = "num_epochs"
    with raises(ConfigError, where="num_epochs", expected="at least 5,", found="4"):
        train_and_evaluate(config, workdir)


@pytest.mark.parametrize(
    ("field", "changed"), [("seed", 1), ("model.heads", 4), ("model.input_resolution", 48)]
)
def test_check_same_run_refuses_changes_to_random_frozen_weights(run_dir, config, field, changed):
    config.update_from_flattened_dict({field: changed})
    config.allow_changed = "seed, model.heads, model.input_resolution"
    saved = json.loads((run_dir / "config.json").read_text())
    now = config.to_dict()
    with raises(RunMismatchError, advice=(field, "config.pretrained")) as error:
        check_same_run(run_dir, {"config": saved}, {"config": now})
    assert list(error.value.fields) == [field]
    # Frozen weights from a file don't depend on these fields, and `full` has no frozen weights.
    for name, value in (("pretrained", "clip.npz"), ("tune", "full")):
        either = {name: value}
        check_same_run(run_dir, {"config": saved | either}, {"config": now | either})


def test_train_and_evaluate_with_another_build_of_the_dataset_raises(
    run_dir, config, data_dir, tmp_path
):
    copy = shutil.copytree(data_dir, tmp_path / "data")
    (shard,) = copy.glob("recordings/frames/*/*-test.array_record*")
    content = bytearray(shard.read_bytes())
    content[20_000] ^= 1
    shard.write_bytes(content)
    config.data.dir = str(copy)
    with raises(RunMismatchError, advice="--config.allow_changed=dataset") as error:
        train_and_evaluate(config, run_dir)
    assert list(error.value.fields) == ["dataset_sha256.test"]


def test_train_and_evaluate_with_allowed_rebuilt_dataset_resumes(
    run_dir, config, data_dir, tmp_path, caplog
):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    copy = shutil.copytree(data_dir, tmp_path / "data")
    (metadata,) = copy.glob("recordings/frames/*/metadata.json")
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"built": "later"}))
    config.data.dir, config.num_epochs = str(copy), 5
    config.allow_changed = "num_epochs"
    with raises(RunMismatchError, advice="--config.allow_changed=dataset") as error:
        train_and_evaluate(config, workdir)
    assert list(error.value.fields) == ["dataset_sha256.metadata.json"]
    config.allow_changed = "num_epochs,dataset"
    train_and_evaluate(config, workdir)
    logged = [record.args[0] for record in caplog.records if "num_epochs" in record.getMessage()]
    assert re.fullmatch(r"dataset_sha256.metadata.json: .*; num_epochs: .*", logged[0])
    assert metric_rows(workdir)[: len(metric_rows(run_dir))] == metric_rows(run_dir)
    config.allow_changed = ""
    train_and_evaluate(config, workdir)  # the new build is now the run's own


def test_train_and_evaluate_without_config_file_compares_the_checkpoint(run_dir, config, tmp_path):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    (workdir / "config.json").unlink()
    config.num_epochs = 8
    with raises(RunMismatchError, where=str(workdir), fields={"num_epochs": (4, 8)}):
        train_and_evaluate(config, workdir)
    assert not (workdir / "config.json").exists()
    config.num_epochs = 4
    train_and_evaluate(config, workdir)
    assert json.loads((workdir / "config.json").read_text())["num_epochs"] == 4


def truncate_optimizer(step: pathlib.Path) -> None:
    for path in step.glob("optimizer/**/d/*"):
        os.truncate(path, path.stat().st_size // 2)


CORRUPTIONS = {
    "cut": (truncate_optimizer, "optimizer"),
    "metrics": (lambda step: (step / "metrics/metrics").write_text('{"val'), "is unreadable"),
}


# When an array can't be read, Orbax leaves the tasks of the other arrays to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", CORRUPTIONS)
def test_restore_latest_with_corrupt_checkpoint_uses_the_previous_one(
    run_dir, config, tmp_path, caplog, damage
):
    caplog.set_level("INFO", "dstadapter_jax")
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    inflict, reason = CORRUPTIONS[damage]
    inflict(workdir / "checkpoints/24")
    damaged = sorted(path.name for path in (workdir / "checkpoints/24").glob("*/*"))
    result = train_and_evaluate(config, workdir)
    gc.collect()
    logged = [record.args for record in caplog.records]
    (moved,) = (args for args in logged if workdir / "corrupt_checkpoints/24" in args)
    assert reason in moved[1]
    assert (18, 24, workdir) in logged
    assert result == json.loads((run_dir / "eval_test.json").read_text())
    assert metric_rows(workdir) == metric_rows(run_dir)
    jax.tree.map(
        np.testing.assert_array_equal,
        trainable_weights(workdir, config, 24),
        trainable_weights(run_dir, config, 24),
    )
    kept = (workdir / "corrupt_checkpoints/24").glob("*/*")
    assert sorted(path.name for path in kept) == damaged


def test_restore_latest_with_only_unreadable_checkpoints_raises_and_keeps_them(
    run_dir, config, tmp_path
):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    steps = sorted((workdir / "checkpoints").iterdir())
    for step in steps:
        shutil.rmtree(step / "trainable")
    log = (workdir / "metrics.jsonl").read_bytes()
    with raises(CheckpointError, problem="step 24", advice=("[", "--step")):
        train_and_evaluate(config, workdir)
    with raises(CheckpointError, problem="step 24", advice=("[", "--step")):
        Recognizer.load(workdir, "24")
    assert sorted((workdir / "checkpoints").iterdir()) == steps
    assert (workdir / "metrics.jsonl").read_bytes() == log


def test_restore_latest_with_only_quarantined_checkpoints_raises(run_dir, config, tmp_path):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    (workdir / "checkpoints").rename(workdir / "corrupt_checkpoints")
    log = (workdir / "metrics.jsonl").read_bytes()
    with raises(CheckpointError, where=str(workdir), problem="corrupt_checkpoints"):
        train_and_evaluate(config, workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == log
