"""Streams: windows, what makes one a sign, where frames come from, and the commands."""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction

import av
import cv2
import msgspec
import numpy as np
import pytest

from dstadapter_jax import calibrate, predict
from dstadapter_jax.adapters.file import write_adapter
from dstadapter_jax.adapters.schema import DetectionCounts as Counts
from dstadapter_jax.adapters.schema import SchemaError, SpottingSettings, parse_spotting
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.preprocess import PreprocessConfig, center_view, preprocess
from dstadapter_jax.data.video.reader import ClipError, iter_timed_frames, read_frames
from dstadapter_jax.data.views import Views
from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer
from dstadapter_jax.spotting import sources
from dstadapter_jax.spotting.classifier import Outputs, SignClassifier
from dstadapter_jax.spotting.detector import Detection, Detector, detect
from dstadapter_jax.spotting.fit import (
    TARGET_RECALL,
    count_detections,
    fit_sign_classifier,
    max_ious,
    set_threshold,
)
from dstadapter_jax.spotting.inference import HopOutputs, infer_windows, make_feature_fn
from dstadapter_jax.spotting.recognize import spot_signs
from dstadapter_jax.spotting.settings import FILE, load_settings, save_settings
from dstadapter_jax.spotting.synthetic import Annotation, BackgroundFootage, ComposedStream
from dstadapter_jax.spotting.windows import SlidingWindows
from tests.helpers.adapters import SIZES, draw_adapter, write_tower
from tests.helpers.clips import write_clip
from tests.helpers.errors import raises

CFG = PreprocessConfig(num_frames=4, resolution=32)
FPS = 25


def noise_frames(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    shape = (count, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def ticking(lengths: tuple[float, ...], frames: np.ndarray) -> list:
    sliding = SlidingWindows(lengths, CFG)
    ticks = []
    for index, frame in enumerate(frames):
        sliding.push(index / FPS, frame)
        if windows := sliding.pop_ready():
            ticks.append((index, windows))
    return ticks


def test_a_window_is_to_the_network_what_a_clip_of_its_frames_is():
    frames = noise_frames(60)
    for last, windows in ticking((0.4, 0.8), frames):
        for window in windows:
            first = round(window.start * FPS)
            clip = frames[first : last + 1]
            views, _ = preprocess(len(clip), clip.__getitem__, CFG, "test", views=Views(1, 1))
            assert window.end == last / FPS
            np.testing.assert_array_equal(window.view, views[0])


def test_windows_have_their_lengths_and_come_at_every_tick():
    ticks = ticking((0.36, 0.72), noise_frames(100))
    ends = np.array([last / FPS for last, _ in ticks])
    assert ends[0] == 0.36
    assert len(set(np.diff(ends).round(3))) == 2  # a frame or two: a tick comes to 1.125
    assert np.diff(ends).mean() == pytest.approx(0.36 / 8, rel=0.03)
    for number, windows in ((0, [0.36]), (-1, [0.36, 0.72])):
        found = [window.end - window.start for window in ticks[number][1]]
        np.testing.assert_allclose(found, windows)


def test_what_is_late_is_left_out_and_frames_far_apart_make_no_window():
    sliding = SlidingWindows((0.4,), CFG)
    ends = []
    for seconds in (0, 0.1, 0.2, 0.3, 0.4, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5):
        sliding.push(seconds, noise_frames(1)[0])
        ends += [window.end for window in sliding.pop_ready()]
    assert ends == [0.4, 3.4, 3.5]


def test_of_a_long_stream_no_more_is_kept_than_the_longest_window():
    sliding = SlidingWindows((0.4, 0.8), CFG)
    for index, frame in enumerate(noise_frames(500, 8, 8)):
        sliding.push(index / FPS, frame)
    assert len(sliding) == 0.8 * FPS + 1


def test_of_more_frames_than_any_camera_has_some_are_left_out():
    sliding = SlidingWindows((0.4,), CFG)
    for index, frame in enumerate(noise_frames(500, 8, 8)):
        sliding.push(index / 1000, frame)
    assert len(sliding) == 101  # 250 a second


def window(label: int, start: float, end: float, score: float) -> Detection:
    return Detection(label, start, end, score, 0.9)


def told(
    ticks: dict[float, list[Detection]], longest: float = 2.0
) -> list[tuple[float, Detection]]:
    detector = Detector(longest)
    found = [
        (now, sign) for now, windows in ticks.items() for sign in detector.update(now, windows)
    ]
    return found + [(np.inf, sign) for sign in detector.flush()]


def test_of_windows_that_overlap_one_is_told_once_the_stream_is_quiet():
    part, whole = window(1, 0.2, 0.9, 5.0), window(2, 0.0, 1.6, 5.0)
    quiet = window(0, 1.0, 2.6, -1.5)
    assert told({0.9: [part], 1.6: [whole], 2.0: [window(0, 1, 2, -0.5)], 2.6: [quiet]}) == [
        (2.6, whole)
    ]


def test_a_sign_is_told_at_the_latest_when_no_window_can_take_its_place():
    sign, later = window(1, 0.0, 1.0, 5.0), window(2, 2.0, 3.0, 0.5)
    ticks = {1.0: [sign], 2.9: [window(0, 1.2, 2.9, 0.0)], 3.0: [later], 4.9: [later]}
    assert told(ticks) == [(3.0, sign), (np.inf, later)]


def test_two_signs_in_a_row_are_two():
    first, second = window(1, 0.0, 1.0, 3.0), window(2, 0.95, 2.0, 3.0)
    assert [sign for _, sign in told({1.0: [first], 2.0: [second]})] == [first, second]


def test_what_overlaps_a_sign_that_was_told_is_none():
    sign, echo = window(1, 0.0, 1.0, 5.0), window(1, 0.4, 1.4, 9.0)
    ticks = {1.0: [sign], 1.2: [window(0, 0.2, 1.2, -2.0)], 1.4: [echo]}
    assert told(ticks) == [(1.2, sign)]


def test_windows_that_are_no_signs_are_never_told():
    assert told({now: [window(0, now - 1, now, 0.0)] for now in np.arange(1, 5, 0.1)}) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(1, 0, 1), (2, 3, 4)], (2, 2, 0)),
        ([(1, 0.4, 1.4), (2, 3, 4)], (2, 2, 0)),  # shares 0.6 of the sign
        ([(1, 0.6, 1.6), (2, 3, 4)], (2, 1, 1)),  # shares 0.4
        ([(2, 0, 1), (2, 3, 4)], (2, 1, 1)),  # another label
        ([(1, 0, 1), (1, 0.1, 1), (2, 3, 4)], (2, 2, 1)),  # told twice
        ([], (2, 0, 0)),
    ],
)
def test_counting(found, expected):
    shown = [Annotation(1, 0.0, 1.0), Annotation(2, 3.0, 4.0)]
    assert count_detections([window(*sign, 1.0) for sign in found], shown) == expected


def looks_of(features: np.ndarray, times: np.ndarray) -> list[HopOutputs]:
    logs = np.log(np.array([[0.6, 0.4]], np.float32)).repeat(len(features), axis=0)
    return [
        HopOutputs([start], end, Outputs(logs[i : i + 1], features[i : i + 1]))
        for i, (start, end) in enumerate(times)
    ]


def test_signs_are_told_from_the_rest_by_features_and_a_known_share_passes():
    rng = np.random.default_rng(0)
    ends = np.arange(1, 401, dtype=float)
    times = np.stack([ends - 1, ends], axis=1)
    shown = [Annotation(0, end - 1, end) for end in ends[::2]]
    features = rng.normal(0, 1, (400, 8))
    features[::2, 3] += 4  # of windows that show a sign
    ticks = looks_of(features.astype(np.float32), times)
    assert max_ious(ticks, shown)[:4].tolist() == [1, 0, 1, 0]

    scorer = set_threshold(ticks, shown, fit_sign_classifier(ticks, shown))
    scores = np.concatenate([scorer.scores(seen.outputs) for seen in ticks])
    assert np.abs(scorer.weights).argmax() == 3
    assert (scores[::2] > 0).mean() == pytest.approx(TARGET_RECALL, abs=0.005)
    assert (scores[1::2] > 0).mean() < 0.05


def test_signs_alone_teach_nothing():
    ticks = looks_of(np.zeros((3, 2), np.float32), np.array([(0, 1), (1, 2), (2, 3)], float))
    shown = [Annotation(0, float(start), start + 1.0) for start in range(3)]
    with raises(where="training split"):
        fit_sign_classifier(ticks, shown)
    with raises(where="validation split"):
        set_threshold(ticks, [Annotation(0, 10.0, 11.0)], SignClassifier(np.zeros(2), 0.0))


def test_margins_are_log_odds_and_shift_with_the_plane():
    outputs = Outputs(np.log(np.array([[0.7, 0.2, 0.1]])), np.array([[1.0, 2.0]]))
    score = SignClassifier(np.array([0.5, -1.0]), 0.25).scores(outputs)
    assert score == pytest.approx(np.log(0.7 / 0.2) + 0.5 - 2 + 0.25)


SETTINGS = SpottingSettings(
    window_seconds=(0.5, 1.0),
    weights=(0.1, -0.2),
    bias=0.3,
    metrics={"test": Counts(num_signs=2, true_positives=1, false_positives=0)},
)


def test_settings_are_read_as_written(tmp_path):
    save_settings(SETTINGS, tmp_path, 7)
    assert load_settings(tmp_path, 7, 2) == SETTINGS
    with raises(where=FILE, problem=("7", "8"), advice="--step 8"):
        load_settings(tmp_path, 8, 2)
    (tmp_path / FILE).write_text("{")
    with raises(where=FILE, advice="--step 7"):
        load_settings(tmp_path, 7, 2)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"format_version": 2}, "format_version"),
        ({"window_seconds": []}, "window_seconds"),
        ({"window_seconds": [1.0, 0.5]}, "window_seconds"),
        ({"window_seconds": [1e9]}, "window_seconds"),
        ({"weights": [1.0]}, "weights"),
        ({"weights": [1.0, float("nan")]}, "weights"),
        ({"bias": True}, "bias"),
        ({"bias": 10**400}, "bias"),
        ({"window_seconds": [0.5, 0.5]}, "window_seconds"),
        ({"metrics": {"test": {"num_signs": "all"}}}, "metrics"),
        ({"metrics": {"\x1b[31m": {}}}, ""),
        ({"weights": [1e300, 1.0]}, "weights"),
        ({"window_seconds": [1e-300]}, "window_seconds"),
        ({"more": 1}, ""),
    ],
)
def test_parse_spotting_with_invalid_fields_raises(change, where):
    with raises(SchemaError, where=where):
        parse_spotting(msgspec.to_builtins(SETTINGS) | change, 2)


def test_clips_in_a_row_are_where_it_says(data_dir, tmp_path):
    source = open_dataset("recordings/frames", str(data_dir)).source("test")
    examples = [source[0], source[1]]
    stream = ComposedStream(examples, "pyav", CFG, BackgroundFootage(None, CFG), seed=0)
    frames = list(stream)
    assert [sign.label for sign in stream.annotations] == [int(clip["label"]) for clip in examples]
    times = np.array([seconds for seconds, _ in frames])
    np.testing.assert_allclose(np.diff(times), 1 / 30)
    for sign, example in zip(stream.annotations, examples, strict=True):
        inside = [f for seconds, f in frames if sign.start <= seconds <= sign.end + 1e-6]
        assert len(inside) == int(example["num_frames"])
        # Before it, the clip is held at its first frame.
        before = frames[int(np.searchsorted(times, sign.start - 0.01)) - 1][1]
        np.testing.assert_array_equal(before, inside[0])
    assert stream.annotations[0].start >= 0.5
    assert stream.annotations[1].start - stream.annotations[0].end >= 0.9


def test_gaps_show_the_signer_of_the_clip_if_there_is_footage(data_dir, tmp_path):
    source = open_dataset("recordings/frames", str(data_dir)).source("test")
    signer = source[0]["signer"].decode()
    for folder, gray in (("", 50), (signer, 200)):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_clip(tmp_path / folder / "idle.mp4", np.full((90, 48, 64, 3), gray, np.uint8))
    stream = ComposedStream([source[0]], "pyav", CFG, BackgroundFootage(tmp_path, CFG), seed=0)
    frames = list(stream)
    (sign,) = stream.annotations
    gap = [frame for seconds, frame in frames if seconds < sign.start - 1e-6]
    assert 30 <= len(gap) <= 75
    assert abs(np.mean(gap) - 200) < 3
    with raises(where="--background_videos"):
        BackgroundFootage(pathlib.Path(__file__).parents[1] / "golden", CFG)


def piped(frames: np.ndarray) -> bytes:
    """YUV4MPEG, as another program writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("rawvideo", rate=Fraction(FPS))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def test_a_pipe_gives_each_frame_when_it_comes():
    gray = np.arange(0, 240, 8, np.uint8)
    frames = np.ones((30, 48, 64, 3), np.uint8) * gray[:, None, None, None]
    text = piped(frames)
    reading = (
        "from dstadapter_jax.spotting.sources import read_video\n"
        "for frames in read_video('-'):\n"
        "    for seconds, frame in frames: print(round(seconds, 3), frame.mean(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reading], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        half = len(text) // 2
        child.stdin.write(text[:half])
        child.stdin.flush()
        first = [child.stdout.readline().split() for _ in range(12)]  # the rest isn't there yet
        child.stdin.write(text[half:])
        child.stdin.close()
        rest = [line.split() for line in child.stdout.read().splitlines()]
    times, seen = np.array(first + rest, float).T
    np.testing.assert_allclose(times, np.arange(30) / FPS, atol=1e-3)
    np.testing.assert_allclose(seen, gray, atol=2)


CAMERA = cv2.VideoCapture  # opens files, too, which stand for the camera that can't be had here


def test_a_camera_gives_all_that_it_has_seen_and_says_when_it_ends(tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", noise_frames(20))
    camera = CAMERA(str(tmp_path / "clip.mp4"))
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)
    seen, source = [], sources.read_camera(0, CFG)
    while len(seen) < 20:
        seen += next(source)
        time.sleep(0.1)  # as computing takes: frames come meanwhile
    with pytest.raises(ClipError, match="camera 0: gives no more frames"):
        next(source)
    assert [seconds for seconds, _ in seen] == sorted(seconds for seconds, _ in seen)
    whole = read_frames(tmp_path / "clip.mp4", range(20))
    for (_, view), frame in zip(seen, whole, strict=True):
        np.testing.assert_allclose(view, center_view(frame, CFG), atol=3)  # another converter
    assert not camera.isOpened()


def test_a_camera_that_breaks_is_no_end_of_waiting(monkeypatch):
    class Broken:
        def isOpened(self) -> bool:
            return True

        def read(self):
            raise cv2.error("unplugged")

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Broken())
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with pytest.raises(ClipError, match="camera 0: gives no more frames"):
        next(sources.read_camera(0, CFG))


def test_a_camera_that_is_not_there():
    with pytest.raises(ClipError, match="camera 97: can't be opened"):
        next(sources.read_camera(97, CFG))


@pytest.mark.parametrize("text", [b"", b"no video"])
def test_a_pipe_without_a_video(calibrated, text):
    command = [sys.executable, "-m", "dstadapter_jax.predict", "--workdir", str(calibrated)]
    result = subprocess.run([*command, "--stream", "-"], input=text, capture_output=True)
    assert result.returncode == 1
    (line,) = result.stdout.splitlines()
    assert "expected YUV4MPEG, MPEG-TS" in json.loads(line)["error"]


def test_times_go_on_where_a_stream_begins_again(tmp_path):
    write_clip(tmp_path / "a.ts", noise_frames(20), fps=25)
    twice = (tmp_path / "a.ts").read_bytes() * 2
    times = np.array([seconds for seconds, _ in iter_timed_frames(io.BytesIO(twice), name="x")])
    assert len(times) >= 39
    np.testing.assert_allclose(np.diff(times), 1 / 25, atol=1e-3)


def test_a_file_that_lacks_its_end_is_refused(tmp_path):
    write_clip(tmp_path / "whole.mkv", noise_frames(40))
    text = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(text[: len(text) // 2])
    with pytest.raises(ClipError, match="truncated"):
        list(sources.read_video(str(tmp_path / "cut.mkv")))


@pytest.fixture(scope="module")
def calibrated(run_dir, tmp_path_factory) -> pathlib.Path:
    """A run that knows what a sign is."""
    workdir = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run_dir, workdir)
    assert calibrate.main(["--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture(scope="module")
def video(data_dir, tmp_path_factory) -> pathlib.Path:
    """All test clips in a row."""
    dataset = open_dataset("recordings/frames", str(data_dir))
    source = dataset.source("test")
    stream = ComposedStream(
        [source[i] for i in range(9)], "pyav", CFG, BackgroundFootage(None, CFG), seed=1
    )
    path = tmp_path_factory.mktemp("stream") / "long.mp4"
    write_clip(path, np.stack([frame for _, frame in stream]))
    return path


def assert_same_signs(found: list[Detection], expected: list[Detection]) -> None:
    """But for rounding, by which programs of other batches differ."""
    assert [sign[:3] for sign in found] == [sign[:3] for sign in expected] != []
    np.testing.assert_allclose([s.score for s in found], [s.score for s in expected], rtol=1e-3)


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_calibration_tells_what_it_finds(calibrated, run_dir):
    recognizer = Recognizer.load(calibrated)
    settings = load_settings(calibrated, recognizer.step, 32)
    # Clips have 12 to 14 frames at 30 a second.
    assert settings.window_seconds == pytest.approx((11 / 30, 13 / 30), abs=1e-3)
    assert {split: found.num_signs for split, found in settings.metrics.items()} == {
        "validation": 9,
        "test": 9,
    }
    with raises(where=FILE, advice="calibrate --workdir"):
        load_settings(run_dir, recognizer.step, 32)


def test_signs_of_a_file_are_those_of_its_windows_one_by_one(calibrated, video, capsys, caplog):
    with caplog.at_level("INFO"):
        assert predict.main(["--workdir", str(calibrated), "--stream", str(video)]) == 0
    recognizer = Recognizer.load(calibrated)
    settings = load_settings(calibrated, recognizer.step, 32)
    sliding = SlidingWindows(settings.window_seconds, recognizer.preprocess)
    ticks = infer_windows(
        sources.read_video(str(video)), sliding, make_feature_fn(recognizer.model)
    )
    expected = list(
        detect(ticks, SignClassifier.from_settings(settings), settings.window_seconds[-1])
    )
    printed = lines(capsys)
    assert expected
    assert [(line["id"], line["start"], line["end"]) for line in printed] == [
        (sign.label, round(sign.start, 3), round(sign.end, 3)) for sign in expected
    ]
    assert {line["label"] for line in printed} <= set(recognizer.label_names)
    assert "times the video's speed" in caplog.text


def test_a_stream_on_standard_input_is_as_from_a_file(calibrated, tmp_path, capsys):
    frames = noise_frames(60)
    (tmp_path / "long.y4m").write_bytes(piped(frames))
    arguments = ["--workdir", str(calibrated), "--stream"]
    assert predict.main([*arguments, str(tmp_path / "long.y4m")]) == 0
    from_file = lines(capsys)
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


def test_a_video_that_cannot_be_read_does_not_keep_from_the_next(
    calibrated, video, tmp_path, capsys, caplog
):
    (tmp_path / "text.mp4").write_text("no video")
    write_clip(tmp_path / "short.mp4", noise_frames(3))
    videos = [str(tmp_path / "text.mp4"), str(tmp_path / "short.mp4"), str(video)]
    assert predict.main(["--workdir", str(calibrated), "--stream", *videos]) == 1
    first, *others = lines(capsys)
    assert "is not a video" in first["error"]
    assert {line["video"] for line in others} == {str(video)}
    warned = [record.args[0] for record in caplog.records if record.name.endswith("recognize")]
    assert [pathlib.PurePath(name).name for name in warned].count("short.mp4") == 1
    assert not any(name.endswith("text.mp4") for name in warned)


def test_before_a_camera_the_same_signs_are_found_as_in_the_file(
    calibrated, video, monkeypatch, capsys
):
    """Frames come at the file's own times, and faster; so all are waited for."""
    recognizer = Recognizer.load(calibrated)
    settings = load_settings(calibrated, recognizer.step, 32)
    one_by_one, together = (
        list(spot_signs(recognizer, settings, sources.read_video(str(video)), "x", live=live))
        for live in (True, False)
    )
    assert_same_signs(one_by_one, together)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: CAMERA(str(video)))
    assert predict.main(["--workdir", str(calibrated), "--webcam"]) == 1
    *_, last = lines(capsys)
    assert last == {"video": "camera 0", "error": "gives no more frames"}


def test_ctrl_c_ends_a_live_stream_as_its_end_does(calibrated, video):
    """The writer of the pipe goes on; the signs so far and the report are printed."""
    command = [sys.executable, "-m", "dstadapter_jax.predict", "--workdir", str(calibrated)]
    frames = np.stack([f for _, f in iter_timed_frames(str(video))] * 3)
    text = piped(frames)
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
    assert "times the video's speed" in err
    assert "Traceback" not in err


def test_an_adapter_file_knows_what_its_run_knows(calibrated, video, tmp_path, capsys):
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
def test_what_does_not_go_together(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--workdir", "RUN", *arguments])
    message = capsys.readouterr().err.splitlines()[-1]
    assert re.search("--webcam", message)


def test_a_network_that_diverged_finds_nothing_and_says_so(calibrated):
    model = Recognizer.load(calibrated).model
    model.head.bias[...] = np.nan
    with pytest.raises(NonFiniteOutputError):
        make_feature_fn(model)(np.zeros((1, 4, 32, 32, 3), np.uint8))
