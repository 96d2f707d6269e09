"""The command `predict`."""

import json
import re

import numpy as np
import pytest

from dstadapter_jax import predict
from tests.helpers.adapters import write_diverged
from tests.helpers.clips import write_clip


def lines_of(capsys: pytest.CaptureFixture) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_predict_with_unreadable_videos_answers_all_and_exits_with_1(
    run_dir, recordings, capsys, tmp_path
):
    empty, thin = tmp_path / "empty.mp4", tmp_path / "thin.mp4"
    empty.touch()
    write_clip(thin, np.zeros((9, 16, 1200, 3), np.uint8))
    good = str(recordings / "s0_l0_t0.mp4")
    videos = [good, str(empty), "none.mp4", str(thin), good]
    assert predict.main(["--workdir", str(run_dir), *videos]) == 1
    first, second, third, oblong, fourth = lines_of(capsys)
    assert "too oblong" in oblong["error"]
    assert first == fourth
    assert first["video"] == good
    assert {entry["label"] for entry in first["predictions"]} == {"sign 0", "sign 1", "sign 2"}
    assert second == {"video": str(empty), "error": "is empty (0 bytes)"}
    assert "No such file" in third["error"]
    assert predict.main(["--workdir", str(run_dir), good]) == 0


def test_predict_with_diverged_model_answers_with_an_error(recordings, capsys, tmp_path):
    good = str(recordings / "s0_l0_t0.mp4")
    adapter, tower = write_diverged(tmp_path)
    arguments = [f"--adapter={adapter}", f"--backbone={tower}", f"--explain={tmp_path / 'why.png'}"]
    assert predict.main([*arguments, good, "none.mp4"]) == 1
    diverged, missing = lines_of(capsys)
    assert diverged["video"] == good
    assert re.match(r"model: .*--step=N", diverged["error"])
    assert "predictions" not in diverged
    assert "No such file" in missing["error"]
    assert not (tmp_path / "why.png").exists()
