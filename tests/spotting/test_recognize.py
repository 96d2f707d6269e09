"""Sign spotting by `predict --stream` and `predict --webcam`."""

import contextlib
import dataclasses
import json
import pathlib
import re
import signal
import subprocess
import sys

import cv2
import msgspec
import numpy as np
import pytest

from dstadapter_jax import predict
from dstadapter_jax.adapters.file import write_adapter
from dstadapter_jax.adapters.validation import SchemaError
from dstadapter_jax.data.video.reader import iter_timed_frames
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.spotting import sources
from dstadapter_jax.spotting.classifier import SignClassifier
from dstadapter_jax.spotting.detector import Detection, detect
from dstadapter_jax.spotting.inference import infer_windows, make_feature_fn
from dstadapter_jax.spotting.recognize import spot_signs
from dstadapter_jax.spotting.settings import load_settings
from dstadapter_jax.spotting.windows import SlidingWindows
from tests.helpers.adapters import SIZES, draw_adapter, printed_lines, write_tower
from tests.helpers.clips import write_clip
from tests.helpers.errors import raises
from tests.helpers.streams import noise_frames, yuv4mpeg

CAMERA = cv2.VideoCapture  # opens files, too, which replace cameras in these tests


def assert_same_signs(found: list[Detection], expected: list[Detection]) -> None:
    """Same signs; scores differ by the rounding of other batch sizes."""
    assert [sign[:3] for sign in found] == [sign[:3] for sign in expected] != []
    np.testing.assert_allclose([s.score for s in found], [s.score for s in expected], rtol=1e-3)


def test_predict_stream_of_a_file_prints_the_detected_signs(calibrated, video, capsys, caplog):
    with caplog.at_level("INFO"):
        assert predict.main(["--workdir", str(calibrated), "--stream", str(video)]) == 0
    recognizer = Recognizer.load(calibrated)
    settings = load_settings(calibrated, recognizer.step, 32)
    sliding = SlidingWindows(settings.window_seconds, recognizer.preprocess)
    hops = infer_windows(sources.read_video(str(video)), sliding, make_feature_fn(recognizer.model))
    expected = list(
        detect(hops, SignClassifier.from_settings(settings), settings.window_seconds[-1])
    )
    printed = printed_lines(capsys)
    assert expected
    assert [(line["id"], line["start"], line["end"]) for line in printed] == [
        (sign.label, round(sign.start, 3), round(sign.end, 3)) for sign in expected
    ]
    assert {line["label"] for line in printed} <= set(recognizer.label_names)
    (record,) = [r for r in caplog.records if r.args and r.args[0] == str(video)]
    assert record.args[1] == len(list(iter_timed_frames(str(video))))  # frames of the speed report


@pytest.mark.parametrize("text", [b"", b"no video"])
def test_predict_stream_of_a_pipe_without_a_video_fails(calibrated, text):
    command = [sys.executable, "-m", "dstadapter_jax.predict", "--workdir", str(calibrated)]
    result = subprocess.run([*command, "--stream", "-"], input=text, capture_output=True)
    assert result.returncode == 1
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["error"]


def test_predict_stream_of_standard_input_equals_a_file(calibrated, tmp_path, capsys):
    frames = noise_frames(60)
    (tmp_path / "long.y4m").write_bytes(yuv4mpeg(frames))
    arguments = ["--workdir", str(calibrated), "--stream"]
    assert predict.main([*arguments, str(tmp_path / "long.y4m")]) == 0
    from_file = printed_lines(capsys)
    result = subprocess.run(
        [sys.executable, "-m", "dstadapter_jax.predict", *arguments, "-"],
        input=(tmp_path / "long.y4m").read_bytes(),
        capture_output=True,
        check=True,
    )
    from_pipe = [json.loads(line) for line in result.stdout.splitlines()]
    names = ("label", "id", "start", "end")
    assert [[line[name] for name in names] for line in from_file] == [
        [line[name] for name in names] for line in from_pipe
    ]


def test_predict_stream_with_an_unreadable_video_continues_with_the_next(
    calibrated, video, tmp_path, capsys, caplog
):
    (tmp_path / "text.mp4").write_text("no video")
    write_clip(tmp_path / "short.mp4", noise_frames(3))
    videos = [str(tmp_path / "text.mp4"), str(tmp_path / "short.mp4"), str(video)]
    assert predict.main(["--workdir", str(calibrated), "--stream", *videos]) == 1
    first, *others = printed_lines(capsys)
    assert first["video"] == videos[0]
    assert first["error"]
    assert {line["video"] for line in others} == {str(video)}
    warned = [record.args[0] for record in caplog.records if record.name.endswith("recognize")]
    assert [pathlib.PurePath(name).name for name in warned].count("short.mp4") == 1
    assert not any(name.endswith("text.mp4") for name in warned)


def test_predict_webcam_detects_the_signs_of_the_file(calibrated, video, monkeypatch, capsys):
    """The file gives frames faster than a camera, and none is dropped."""
    recognizer = Recognizer.load(calibrated)
    settings = load_settings(calibrated, recognizer.step, 32)
    one_by_one, together = (
        list(spot_signs(recognizer, settings, sources.read_video(str(video)), "x", live=live))
        for live in (True, False)
    )
    assert_same_signs(one_by_one, together)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: CAMERA(str(video)))
    assert predict.main(["--workdir", str(calibrated), "--webcam"]) == 1
    *_, last = printed_lines(capsys)
    assert last.keys() == {"video", "error"}
    assert last["video"] == "camera 0"


def test_predict_stream_ends_normally_at_ctrl_c(calibrated, video):
    """The writer of the pipe continues; the signs so far and the report are printed."""
    command = [sys.executable, "-m", "dstadapter_jax.predict", "--workdir", str(calibrated)]
    frames = np.stack([f for _, f in iter_timed_frames(str(video))] * 3)
    text = yuv4mpeg(frames)
    with subprocess.Popen(
        [*command, "--stream", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        part = len(text) // 3
        child.stdin.write(text[: 2 * part])
        child.stdin.flush()
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        for rest in (text[2 * part :], b""):
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(rest)
                child.stdin.close()
        err = child.stderr.read().decode()
        assert child.wait() == 130, err
    assert " -: " in err  # the speed report
    assert "Traceback" not in err


def test_predict_stream_with_an_adapter_file_uses_its_settings(calibrated, video, tmp_path, capsys):
    settings = load_settings(calibrated, Recognizer.load(calibrated).step, 32)
    tower = write_tower(tmp_path / "tower.safetensors", SIZES)
    adapter, weights = draw_adapter(tower, 3, seed=1)
    asked = ["--backbone", str(tower), "--stream", str(video), "--adapter"]
    write_adapter(tmp_path / "a.safetensors", adapter, weights)
    with raises(where="--adapter", advice="dstadapter_jax.calibrate"):
        predict.main([*asked, str(tmp_path / "a.safetensors")])
    adapter = dataclasses.replace(adapter, spotting=msgspec.to_builtins(settings))
    write_adapter(tmp_path / "b.safetensors", adapter, weights)
    assert predict.main([*asked, f"name={tmp_path / 'b.safetensors'}"]) == 0
    assert Recognizer.load_adapter(tmp_path / "b.safetensors", str(tower)).spotting == settings
    broken = dataclasses.replace(adapter, spotting=msgspec.to_builtins(settings) | {"bias": None})
    with raises(SchemaError, where="spotting.bias"):
        write_adapter(tmp_path / "c.safetensors", broken, weights)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--webcam", "-1"],
        ["--stream"],
        ["--webcam", "0", "clip.mp4"],
        ["--stream", "--explain", "a.png", "a.mp4"],
    ],
)
def test_predict_with_incompatible_stream_arguments_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--workdir", "RUN", *arguments])
    message = capsys.readouterr().err.splitlines()[-1]
    assert re.search("--webcam", message)
