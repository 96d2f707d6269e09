"""Export of runs as adapter files, and their use by the commands."""

import json
import os
import pathlib
import subprocess

import jax
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax import dump_weights, evaluate, predict
from dstadapter_jax.adapters.file import read_adapter
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.export.__main__ import main as export
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.partition import partition
from dstadapter_jax.pretrained.backbone import FrozenBackbone
from dstadapter_jax.pretrained.initialization import build_model
from tests.helpers.adapters import printed_lines, save_run
from tests.helpers.errors import raises

VIEWS = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)


@pytest.mark.exact
def test_export_adapter_of_a_run_gives_bit_identical_outputs(
    evaluated_run, signs, pretrained_config
):
    adapter, weights = read_adapter(signs)
    tower = FrozenBackbone.load(
        adapter.model, pathlib.Path(pretrained_config.pretrained), resize_positions=False
    )
    again = nnx.merge(tower.graphdef, tower.trainable(weights), tower.frozen)
    model, _ = build_model(pretrained_config)
    graphdef, like, frozen = partition(model, "adapter")
    with Checkpointer(evaluated_run, read_only=True) as checkpoints:
        model = nnx.merge(graphdef, checkpoints.restore_trainable(0, like), frozen)
    there, here = dump_weights(model), dump_weights(again)
    assert list(here) == list(there)
    for name, array in there.items():
        np.testing.assert_array_equal(here[name], array, strict=True)
    logits = jax.jit(lambda model: model(normalize(VIEWS)))
    np.testing.assert_array_equal(logits(again), logits(model), strict=True)

    trained = Recognizer.load(evaluated_run)
    shared = Recognizer.load_adapter(signs, pretrained_config.pretrained)
    for views in (VIEWS, VIEWS[:1]):
        found, expected = shared.probabilities(views), trained.probabilities(views)
        np.testing.assert_array_equal(found, expected, strict=True)
    assert (shared.label_names, shared.preprocess) == (trained.label_names, trained.preprocess)


@pytest.mark.exact
def test_export_adapter_of_a_head_gives_bit_identical_outputs(pretrained_config, tmp_path):
    config = pretrained_config.copy_and_resolve_references()
    config.tune = "head"
    run, path = save_run(config, tmp_path / "run"), tmp_path / "head.safetensors"
    assert export(["adapter", "--workdir", str(run), "-o", str(path)]) == 0
    assert set(read_adapter(path)[1]) == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}
    found = Recognizer.load_adapter(path, pretrained_config.pretrained).probabilities(VIEWS)
    np.testing.assert_array_equal(found, Recognizer.load(run).probabilities(VIEWS), strict=True)


def test_export_adapter_writes_metadata_without_paths(signs, evaluated_run, data_dir):
    adapter, _ = read_adapter(signs)
    content = signs.read_bytes() + signs.with_suffix(".md").read_bytes()
    for private in (signs.parent, data_dir, "private-folder"):
        assert str(private).encode() not in content
    assert adapter.backbone.source == "tower.safetensors"
    results = json.loads((evaluated_run / "eval_test.json").read_text())
    assert adapter.metrics["test"]["top1"] == results["top1"]
    assert adapter.metrics["test"]["num_clips"] == 9
    assert adapter.metrics["validation"]["top1"] == 0.5
    assert adapter.training["training_clips"] == 27
    assert (adapter.license, adapter.language, adapter.step) == ("CC-BY-4.0", "gsg", 0)


def test_export_adapter_ignores_results_of_another_step(evaluated_run, tmp_path, caplog):
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", evaluated_run, copy], check=True)
    results = json.loads((copy / "eval_test.json").read_text()) | {"step": 6}
    (copy / "eval_test.json").write_text(json.dumps(results))
    path = tmp_path / "signs.safetensors"
    assert export(["adapter", "--workdir", str(copy), "-o", str(path), "--dtype", "float16"]) == 0
    assert set(read_adapter(path)[0].metrics) == {"validation"}
    (record,) = [record for record in caplog.records if record.name.endswith("export.adapter")]
    assert record.args == (copy / "eval_test.json", 6, 0)


def test_export_adapter_of_unshareable_runs_raises(run_dir, pretrained_config, tmp_path):
    output = str(tmp_path / "none.safetensors")
    with raises(where=(str(run_dir), "config.pretrained")):
        export(["adapter", "--workdir", str(run_dir), "-o", output])
    config = pretrained_config.copy_and_resolve_references()
    config.tune = "full"
    run = save_run(config, tmp_path / "run")
    with raises(where="config.tune", found="full", expected="adapter or head"):
        export(["adapter", "--workdir", str(run), "-o", output])
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize(
    ("command", "arguments", "facts"),
    [
        (export, ["adapter", "--workdir", "x", "-o", "x.npz"], ("--output", ".safetensors")),
        (export, ["adapter", "--workdir", "x", "-o", "none/x.safetensors"], ("none/x",)),
        (
            export,
            ["adapter", "--workdir", "x", "-o", "x.safetensors", "--language", "G"],
            ("--language", "'G'"),
        ),
        (export, ["adaptor"], ("'adaptor'",)),
        (predict.main, ["--workdir", "x", "--adapter", "y", "clip.mp4"], ("--adapter",)),
        (predict.main, ["--adapter", "y", "--step", "3", "clip.mp4"], ("--step", "--workdir")),
        (evaluate.main, ["--adapter", "y", "--data_dir", "x"], ("--output",)),
    ],
)
def test_commands_with_wrong_arguments_exit_with_2(command, arguments, facts, capsys):
    with pytest.raises(SystemExit) as ended:
        command(arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    for fact in facts:
        assert fact in message


def test_evaluate_with_an_adapter_file_equals_its_run(
    signs, evaluated_run, pretrained_config, data_dir, tmp_path, capsys
):
    arguments = ["--adapter", str(signs), "--backbone", pretrained_config.pretrained]
    results = tmp_path / "new" / "results"
    arguments += ["--data_dir", str(data_dir), "--output", str(results)]
    assert evaluate.main(arguments) == 0
    (printed,) = printed_lines(capsys)
    assert printed == json.loads((results / "eval_test.json").read_text())
    expected = json.loads((evaluated_run / "eval_test.json").read_text())
    for name in ("top1", "top5", "mean_class_accuracy", "num_clips", "step", "split"):
        assert printed[name] == expected[name], name


def test_predict_with_adapter_files_equals_their_run(
    signs, evaluated_run, pretrained_config, recordings, capsys
):
    videos = [str(recordings / "s0_l0_t0.mp4"), "none.mp4", str(recordings / "s1_l2_t1.mp4")]
    assert predict.main(["--workdir", str(evaluated_run), *videos]) == 1
    expected = printed_lines(capsys)
    backbone = ["--backbone", pretrained_config.pretrained]
    assert predict.main(["--adapter", str(signs), *backbone, *videos]) == 1
    assert printed_lines(capsys) == expected

    several = ["--adapter", f"dgs={signs}", "--adapter", str(signs)]
    assert predict.main([*several, *backbone, *videos]) == 1
    found = printed_lines(capsys)
    assert [(line["video"], line["language"]) for line in found] == [
        (video, language) for video in videos for language in ("dgs", "signs")
    ]
    for line, alone in zip(found[::2], expected, strict=True):
        labels = [guess["label"] for guess in line.get("predictions", ())]
        assert labels == [guess["label"] for guess in alone.get("predictions", ())]
        assert line.get("error") == alone.get("error")
    with pytest.raises(ValueError, match=r"^--adapter.*signs, signs"):
        predict.main(["--adapter", str(signs), "--adapter", str(signs), *videos])


@pytest.mark.slow
@pytest.mark.skipif("DEMO_WORKDIR" not in os.environ, reason="needs the demo, already run")
@pytest.mark.parametrize("tune", ["adapter", "head"])
def test_evaluate_with_the_demos_adapter_file_equals_its_run(tune, tmp_path, capsys):
    demo, path = pathlib.Path(os.environ["DEMO_WORKDIR"]), tmp_path / "signs.safetensors"
    assert export(["adapter", "--workdir", str(demo / tune), "-o", str(path)]) == 0
    assert path.stat().st_size < {"adapter": 100_000, "head": 5_000}[tune]
    results = ["--output", str(tmp_path / "results")]
    assert evaluate.main(["--adapter", str(path), "--data_dir", str(demo / "data"), *results]) == 0
    found, expected = (
        printed_lines(capsys)[-1],
        json.loads((demo / tune / "eval_test.json").read_text()),
    )
    # The demo's program rounds differently: tests compile without optimizations.
    name = "expected_calibration_error"
    assert found.pop(name) == pytest.approx(expected.pop(name), abs=1e-6)
    assert {name: found[name] for name in expected} == expected
