"""Whole runs on real clips: trained, stopped, gone on with, evaluated, and refused."""

import dataclasses
import gc
import json
import math
import os
import pathlib
import re
import shutil
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from dstadapter_jax import ModelConfig, dump_weights
from dstadapter_jax.checkpoints.integrity import CheckpointError
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data import loader as input_pipeline
from dstadapter_jax.errors import ConfigError
from dstadapter_jax.evaluation.run import evaluate
from dstadapter_jax.evaluation.scores import Scores
from dstadapter_jax.inference.ranking import predict
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.partition import partition
from dstadapter_jax.parallel.signals import Interrupted
from dstadapter_jax.pretrained.formats import WeightsError
from dstadapter_jax.pretrained.initialization import build_model, init_model
from dstadapter_jax.training.logging import MetricsLog
from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.resume import check_same_config
from dstadapter_jax.training.trainer import Trainer
from dstadapter_jax.training.workdir import lock_workdir
from tests.helpers.errors import raises

ROOT = pathlib.Path(__file__).parents[2]
TIMES = ("time", "clips_per_second", "data_seconds", "compute_seconds", "save_seconds")
MEASURED = (*TIMES, "host_gb", "device_gb")


def log_of(workdir: pathlib.Path) -> list[dict]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


def trainable_of(workdir: pathlib.Path, config, step: int) -> dict:
    model, _ = build_model(config)
    _, like, _ = partition(model, config.tune)
    with Checkpointer(workdir, read_only=True) as checkpoints:
        return checkpoints.restore_trainable(step, like)


def test_a_run_leaves_what_the_interface_promises(run_dir, config):
    log = log_of(run_dir)
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
    result = json.loads((run_dir / "eval_test.json").read_text())
    assert result["num_clips"] == 9
    assert result["split"] == "test"
    for picture in ("curves.png", "confusion_test.png"):
        assert (run_dir / picture).read_bytes().startswith(b"\x89PNG")


def test_a_checkpoint_holds_the_trainable_part_alone(run_dir, config):
    model, _ = build_model(config)
    _, start, _ = partition(model, "adapter")
    saved = ocp.StandardCheckpointer().metadata(run_dir.absolute() / "checkpoints/24/trainable")
    names, trained = (
        {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(dict(tree))}
        for tree in (saved.item_metadata, start)
    )
    assert names == trained
    trainable = trainable_of(run_dir, config, 24)
    for name in ("head", "blocks"):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), trainable[name], start[name])
        assert any(jax.tree.leaves(moved)), name


@pytest.mark.parametrize(("step", "signum"), [(5, signal.SIGINT), (14, signal.SIGTERM)])
def test_stopped_and_started_again_it_ends_as_if_never_stopped(
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
    with pytest.raises(Interrupted, match=f"after step {step}") as stopped:
        train_and_evaluate(config, tmp_path / "run")
    assert stopped.value.status == (130 if signum == signal.SIGINT else 0)
    assert signal.getsignal(signal.SIGINT) is handler
    result = train_and_evaluate(config, tmp_path / "run")

    assert done == list(range(1, 25))
    assert result == json.loads((run_dir / "eval_test.json").read_text())
    assert log_of(tmp_path / "run") == log_of(run_dir)
    jax.tree.map(
        np.testing.assert_array_equal,
        trainable_of(tmp_path / "run", config, 24),
        trainable_of(run_dir, config, 24),
    )


def test_stopped_while_validating_it_validates_later(run_dir, config, tmp_path, monkeypatch):
    validate = Trainer.validate

    def stopped(self, check):
        os.kill(os.getpid(), signal.SIGINT)
        return validate(self, check)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "validate", stopped)
        with pytest.raises(Interrupted, match="after step 12"):
            train_and_evaluate(config, tmp_path)
    assert log_of(tmp_path)[-1]["step"] == 12
    assert "val_top1" not in log_of(tmp_path)[-1]
    train_and_evaluate(config, tmp_path)
    assert log_of(tmp_path) == log_of(run_dir)


def test_evaluate_and_predict_need_the_workdir_alone(run_dir, recordings, tmp_path):
    recognizer = Recognizer.load(run_dir)
    assert recognizer.label_names == ("sign 0", "sign 1", "sign 2")
    expected = json.loads((run_dir / "eval_test.json").read_text())
    assert evaluate(recognizer, tmp_path, "test") == expected
    answer = predict(recognizer, str(recordings / "s0_l0_t0.mp4"))
    assert sorted(entry["id"] for entry in answer) == [0, 1, 2]
    assert sum(entry["probability"] for entry in answer) == pytest.approx(1, abs=1e-6)
    probabilities = [entry["probability"] for entry in answer]
    assert probabilities == sorted(probabilities, reverse=True)


def test_metrics_are_those_of_their_definitions():
    probabilities = np.eye(7)[[0, 1, 2, 3]] + 0.1 * np.arange(7)
    scores = Scores(probabilities, labels=np.array([0, 0, 2, 1]))
    # Clip 1: class 0 comes last of 7. Clip 3: class 1 comes before 0 alone.
    assert scores.metrics() == {
        "top1": 0.5,
        "top5": 0.5,
        "mean_class_accuracy": pytest.approx((0.5 + 0 + 1) / 7),
    }
    # Three clips more, all wrong: two of class 0, and the only one of class 5.
    assert scores.metrics(left_out=[0, 0, 5]) == {
        "top1": pytest.approx(2 / 7),
        "top5": pytest.approx(2 / 7),
        "mean_class_accuracy": pytest.approx((0.25 + 0 + 1 + 0) / 7),
    }


def test_a_backbone_file_stays_as_it_is_and_is_known_by_its_hash(config, tmp_path, monkeypatch):
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


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.num_classes", 5, r"num_classes: expected 3.*found 5.*=3"),
        ("model.width", 33, r"model.width: expected .* multiple of model.heads"),
        ("batch_size", 0, r"config.batch_size: expected at least 1, found 0"),
        ("seed", 2**63, r"config.seed: expected at most 9223372036854775807, found"),
        ("num_epochs", 2**31 // 6 + 1, r"num_epochs: expected at most 357913941: .* found 3579139"),
        ("batch_size", 64, r"64.* found 27"),
        ("tune", "adapters", r"config.tune: expected one of"),
        ("data.decoder", "opencv", r"config.data.decoder: expected one of"),
        ("data.dir", "nowhere", r"no built dataset in nowhere"),
        ("optimizer.learning_rate", 0.0, r"learning_rate: expected more than 0, found 0.0"),
        (
            "data.name",
            "recordings",
            r"config.data.name: expected DATASET/CONFIG, found 'recordings'",
        ),
        (
            "preprocess.flip_probability",
            2.0,
            r"preprocess.flip_.*: expected 0 to 1, found 2.0",
        ),
        ("pretrained", "nothing.npz", r"nothing.npz"),
        ("allow_changed", "num_epochs,lr", r"allow_changed: .*optimizer.learn.*found 'lr'.*batch"),
        ("mesh.data", 3, r"config.mesh: .*found data = 3"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_before_it_writes(
    config, tmp_path, field, value, message
):
    config.update_from_flattened_dict({field: value})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_another_runs_workdir_is_refused_with_what_differs(run_dir, config):
    threads = threading.enumerate()
    before = (run_dir / "metrics.jsonl").read_bytes()
    config.optimizer.learning_rate = 0.5
    with raises(where=str(run_dir), problem="optimizer.learning_rate: expected 0.001, found 0.5"):
        train_and_evaluate(config, run_dir)
    assert (run_dir / "metrics.jsonl").read_bytes() == before
    assert not [t for t in threading.enumerate() if t.name == "step timer" and t not in threads]


def test_chosen_fields_may_change_when_a_run_goes_on(run_dir, config, tmp_path, caplog):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    config.num_epochs, config.optimizer.learning_rate, config.seed = 5, 5e-4, 1
    config.allow_changed = "num_epochs, optimizer.learning_rate"
    with raises(problem="seed: expected 0, found 1"):
        train_and_evaluate(config, workdir)
    config.seed = 0
    train_and_evaluate(config, workdir)
    assert "num_epochs: expected 4, found 5; optimizer.learning_rate: " in caplog.text
    log = log_of(workdir)
    assert log[: len(log_of(run_dir))] == log_of(run_dir)
    assert log[-1]["step"] == 30
    assert log[-2]["learning_rate"] == pytest.approx(5e-4 * (1 + math.cos(0.8 * math.pi)) / 2)
    config.allow_changed = ""
    train_and_evaluate(config, workdir)  # the new values are now the run's own
    config.num_epochs = 4
    with raises(problem="num_epochs: expected 5, found 4", advice="allow_changed=num_epochs"):
        train_and_evaluate(config, workdir)
    config.allow_changed = "num_epochs"
    with raises(ConfigError, where="num_epochs", expected="at least 5,", found="4"):
        train_and_evaluate(config, workdir)


@pytest.mark.parametrize(
    ("field", "value"), [("seed", 1), ("model.heads", 4), ("model.input_resolution", 48)]
)
def test_what_random_frozen_weights_are_drawn_from_may_not_change(run_dir, config, field, value):
    config.update_from_flattened_dict({field: value})
    config.allow_changed = "seed, model.heads, model.input_resolution"
    saved = json.loads((run_dir / "config.json").read_text())
    with raises(problem=field, advice=(field, "config.pretrained")):
        check_same_config(run_dir, saved, config.to_dict())
    # A file has the frozen weights, and `full` has none: only what is refused with all others.
    for name, other in (("pretrained", "clip.npz"), ("tune", "full")):
        check_same_config(run_dir, saved | {name: other}, config.to_dict() | {name: other})


def test_another_dataset_of_the_same_labels_and_counts_is_refused(
    run_dir, config, data_dir, tmp_path
):
    copy = shutil.copytree(data_dir, tmp_path / "data")
    (shard,) = copy.glob("recordings/frames/*/*-test.array_record*")
    content = bytearray(shard.read_bytes())
    content[20_000] ^= 1
    shard.write_bytes(content)
    config.data.dir = str(copy)
    with raises(where="dataset", problem="another build: test differ"):
        train_and_evaluate(config, run_dir)


def test_a_dataset_that_was_built_again_is_gone_on_with_if_asked_for(
    run_dir, config, data_dir, tmp_path, caplog
):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    copy = shutil.copytree(data_dir, tmp_path / "data")
    (metadata,) = copy.glob("recordings/frames/*/metadata.json")
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"built": "later"}))
    config.data.dir, config.num_epochs = str(copy), 5
    config.allow_changed = "num_epochs"
    with raises(problem="metadata.json differ", advice="--config.allow_changed=dataset"):
        train_and_evaluate(config, workdir)
    config.allow_changed = "num_epochs,dataset"
    train_and_evaluate(config, workdir)
    assert ("metadata.json",) in [record.args for record in caplog.records]
    assert log_of(workdir)[: len(log_of(run_dir))] == log_of(run_dir)
    config.allow_changed = ""
    train_and_evaluate(config, workdir)  # the new build is now the run's own


def test_a_run_that_never_got_anywhere_does_not_claim_its_workdir(config, tmp_path):
    config.pretrained = "nothing.npz"
    with pytest.raises(FileNotFoundError):
        train_and_evaluate(config, tmp_path)
    config.pretrained, config.num_epochs = "", 1
    train_and_evaluate(config, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["pretrained"] == ""


def test_without_its_config_file_a_workdir_is_still_known_by_its_checkpoint(
    run_dir, config, tmp_path
):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    (workdir / "config.json").unlink()
    config.num_epochs = 8
    with raises(where=str(workdir), problem="num_epochs: expected 4, found 8"):
        train_and_evaluate(config, workdir)
    assert not (workdir / "config.json").exists()
    config.num_epochs = 4
    train_and_evaluate(config, workdir)
    assert json.loads((workdir / "config.json").read_text())["num_epochs"] == 4


def cut_short(step: pathlib.Path) -> None:
    for path in step.glob("optimizer/**/d/*"):
        os.truncate(path, path.stat().st_size // 2)


DAMAGES = {
    "cut": (cut_short, "optimizer"),
    "metrics": (lambda step: (step / "metrics/metrics").write_text('{"val'), "is unreadable"),
}


# Of the arrays that Orbax still reads when one has failed it leaves the tasks to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_checkpoint_the_one_before_is_gone_on_with(
    run_dir, config, tmp_path, caplog, damage
):
    caplog.set_level("INFO", "dstadapter_jax")
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    inflict, reason = DAMAGES[damage]
    inflict(workdir / "checkpoints/24")
    damaged = sorted(path.name for path in (workdir / "checkpoints/24").glob("*/*"))
    result = train_and_evaluate(config, workdir)
    gc.collect()
    logged = [record.args for record in caplog.records]
    (moved,) = (args for args in logged if workdir / "corrupt_checkpoints/24" in args)
    assert reason in moved[1]
    assert (18, 24, workdir) in logged
    assert result == json.loads((run_dir / "eval_test.json").read_text())
    assert log_of(workdir) == log_of(run_dir)
    jax.tree.map(
        np.testing.assert_array_equal,
        trainable_of(workdir, config, 24),
        trainable_of(run_dir, config, 24),
    )
    kept = (workdir / "corrupt_checkpoints/24").glob("*/*")
    assert sorted(path.name for path in kept) == damaged


def test_what_cannot_be_read_at_all_is_neither_moved_nor_begun_anew(run_dir, config, tmp_path):
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


def test_with_corrupt_checkpoints_alone_a_run_is_not_begun_anew(run_dir, config, tmp_path):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    (workdir / "checkpoints").rename(workdir / "corrupt_checkpoints")
    log = (workdir / "metrics.jsonl").read_bytes()
    with raises(CheckpointError, where=str(workdir), problem="corrupt_checkpoints"):
        train_and_evaluate(config, workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == log


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs Linux's /proc")
def test_a_workdir_that_cannot_be_written(config):
    with raises(where="--workdir /proc/run"):
        train_and_evaluate(config, pathlib.Path("/proc/run"))


@pytest.mark.parametrize(
    ("name", "put", "message"),
    [
        (
            "checkpoints",
            lambda path: path.symlink_to("gone"),
            ("folder", "link to gone"),
        ),
        ("tensorboard", pathlib.Path.touch, ("folder", "")),
        ("metrics.jsonl", pathlib.Path.mkdir, ("file", "")),
    ],
)
def test_what_lies_in_the_place_of_what_a_run_writes_is_named(config, tmp_path, name, put, message):
    put(tmp_path / name)
    expected, found = message
    with raises(where=str(tmp_path / name), expected=expected, found=found):
        train_and_evaluate(config, tmp_path)


def test_a_workdir_is_for_one_process_at_a_time(config, tmp_path):
    with lock_workdir(tmp_path), raises(where=f"--workdir {tmp_path}"):
        train_and_evaluate(config, tmp_path)


WRONG_TYPES = [
    '{"step": "1", "epoch": 0.5, "loss": 1.0}',
    '{"step": 1, "epoch": 0.5, "loss": "abc"}',
    "[1]",
]


def test_the_log_of_a_killed_run_is_cut_to_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    names = ("loss", "val_top1", "loss")
    rows = [{"step": n, "epoch": n / 2, k: 1.0} for n, k in zip((2, 2, 3), names, strict=True)]
    for pending, kept in ((False, rows[:2]), (True, rows[:1])):
        lines = [json.dumps(row) for row in rows]
        # What crashes and cut power leave: half a line, NULs, a line of nothing.
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
        log = MetricsLog(path, step=2, validation_pending=pending)
        log.write({"step": 3, "epoch": 1.5, "loss": 2.0})
        assert log_of(tmp_path) == [*kept, {"step": 3, "epoch": 1.5, "loss": 2.0}]


def taken_clips(monkeypatch) -> list[str]:
    """The ids of the training clips, noted as they are loaded."""
    taken: list[str] = []
    describe = input_pipeline.clip_metadata  # called for training clips alone

    def noting(example, indices):
        taken.append(example["id"].decode())
        return describe(example, indices)

    monkeypatch.setattr(input_pipeline, "clip_metadata", noting)
    return taken


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_clips(
    run_dir, config, tmp_path, monkeypatch
):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/24")
    taken = taken_clips(monkeypatch)
    config.data.num_threads = 1
    config.optimizer.learning_rate, config.allow_changed = 1e30, "optimizer.learning_rate"
    with raises(where="step 20, epoch 4", problem="loss") as stopped:
        train_and_evaluate(config, workdir)
    this, previous = re.findall(r": ((?:s\d_l\d_t\d\.mp4(?:, )?)+)", stopped.value.advice)
    assert sorted(this.split(", ")) == sorted(taken[4:8])
    assert sorted(previous.split(", ")) == sorted(taken[:4])
    with Checkpointer(workdir, read_only=True) as checkpoints:
        assert checkpoints.steps() == [18]
    config.optimizer.learning_rate = 1e-3
    train_and_evaluate(config, workdir)
    assert log_of(workdir) == log_of(run_dir)


def test_bfloat16_is_for_computing_alone(config, tmp_path):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        config.model.dtype = dtype
        run = Trainer(config, tmp_path)
        for _ in range(12):
            run.update()
        losses[dtype] = np.array([float(loss) for loss in run.losses])
        kinds = {leaf.dtype for leaf in jax.tree.leaves(run.state)}
        assert kinds == {jnp.dtype("float32"), jnp.dtype("int32")}
        assert {leaf.dtype for leaf in jax.tree.leaves(run.frozen)} == {jnp.dtype("float32")}
        run.close()
    # bfloat16 has 8 bits, so that a number is rounded by up to 0.4 %.
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], atol=0.01)
    assert (losses["bfloat16"] != losses["float32"]).all()


def test_weights_that_are_not_finite_are_not_saved(config, tmp_path):
    run = Trainer(config, tmp_path)
    with Checkpointer(tmp_path) as checkpoints:
        run.update()
        run.save(checkpoints)
        run.update()
        run.state.trainable["ln_post"]["scale"] *= jnp.inf
        with raises(where="step 2, epoch 1", advice="_l"):
            run.save(checkpoints)
        assert checkpoints.steps() == [1]
    run.close()


def test_probabilities_that_are_not_finite_are_no_accuracy(run_dir, config, tmp_path, monkeypatch):
    workdir = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/24")
    (workdir / "eval_test.json").unlink()
    finite = Trainer.recognizer

    def blown_up(run, *check):
        recognizer = finite(run, *check)
        return dataclasses.replace(
            recognizer, probabilities=lambda clips: recognizer.probabilities(clips) * np.nan
        )

    monkeypatch.setattr(Trainer, "recognizer", blown_up)
    with raises(where="step 24, epoch 4", problem=("9 of the 9 clips", "'validation'")):
        train_and_evaluate(config, workdir)
    with Checkpointer(workdir, read_only=True) as checkpoints:
        assert checkpoints.steps() == [18]
    monkeypatch.undo()
    run = Trainer(config, workdir)
    with pytest.raises(ValueError, match=r"9 of the 9 clips .*'test'.*--step=N.*checkpoints/0"):
        evaluate(blown_up(run), workdir, "test")
    run.close()
    assert not (workdir / "eval_test.json").exists()


def halve(split: pathlib.Path) -> None:
    os.truncate(split, split.stat().st_size // 2)


def scramble(split: pathlib.Path) -> None:
    content = bytearray(split.read_bytes())
    content[::997] = b"?" * len(content[::997])
    with split.open("r+b") as file:  # in place, since the run has it open
        file.write(content)


@pytest.mark.parametrize("damage", [halve, scramble, pathlib.Path.unlink])
def test_data_that_vanishes_ends_the_run_with_its_last_checkpoint(
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
    assert log_of(tmp_path / "run") == log_of(run_dir)


def test_steps_and_workdirs_that_are_not_there(run_dir, tmp_path):
    with raises(CheckpointError, where="--step", expected="24", found="'7'"):
        Recognizer.load(run_dir, "7")
    with raises(CheckpointError, where=str(tmp_path)):
        Recognizer.load(tmp_path)
