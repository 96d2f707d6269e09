"""The command `evaluate`."""

import json
import re
import shutil

import pytest

from dstadapter_jax import evaluate
from tests.helpers.errors import raises
from tests.helpers.processes import run_python


def test_evaluate_prints_and_writes_one_object(run_dir, capsys):
    assert evaluate.main(["--workdir", str(run_dir), "--split", "validation"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((run_dir / "eval_validation.json").read_text())
    assert printed["split"] == "validation"
    assert printed["step"] in (12, 24)
    assert set(printed) >= {"top1", "top5", "mean_class_accuracy", "num_clips", "views"}


def test_evaluate_with_unwritable_output_raises_before_evaluating(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("dstadapter_jax.evaluation.run.evaluate", None)
    (tmp_path / "file").touch()
    with raises(where="/file", found="File exists"):
        evaluate.main(["--workdir", str(run_dir), "--output", str(tmp_path / "file")])


def test_evaluate_on_a_dataset_with_other_labels_raises(run_dir, tmp_path, data_dir):
    place = "recordings/frames/1.0.0"
    other = shutil.copytree(data_dir / place, tmp_path / place)
    (other / "label.labels.txt").write_text("sign 0\nsign 2\nsign 1\n")
    with raises(where="label 1", expected="'sign 1'", found="'sign 2'"):
        evaluate.main(["--workdir", str(run_dir), "--data_dir", str(tmp_path)])


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_command_with_an_empty_workdir_exits_with_1(command, tmp_path):
    videos = ["clip.mp4"] if command == "predict" else []
    result = run_python("-m", f"dstadapter_jax.{command}", "--workdir", str(tmp_path), *videos)
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(rf"error: {re.escape(str(tmp_path))}: .*\n", result.stderr)
