"""Sources of frames: files, pipes and cameras."""

import contextlib
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from dstadapter_jax.data.preprocess import center_view
from dstadapter_jax.data.video.reader import ClipError, iter_timed_frames, read_frames
from dstadapter_jax.spotting import sources
from tests.helpers.clips import write_clip
from tests.helpers.streams import CFG, FPS, noise_frames, yuv4mpeg


@contextlib.contextmanager
def raises_clip_error(clip: str) -> Iterator[None]:
    with pytest.raises(ClipError) as caught:
        yield
    assert caught.value.clip == clip


CAMERA = cv2.VideoCapture  # opens files, too, which replace cameras in these tests


def test_read_video_of_a_pipe_yields_each_frame_on_arrival():
    gray = np.arange(0, 240, 8, np.uint8)
    frames = np.ones((30, 48, 64, 3), np.uint8) * gray[:, None, None, None]
    text = yuv4mpeg(frames)
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
        first = [child.stdout.readline().split() for _ in range(12)]  # before the rest is written
        child.stdin.write(text[half:])
        child.stdin.close()
        rest = [line.split() for line in child.stdout.read().splitlines()]
    times, seen = np.array(first + rest, float).T
    np.testing.assert_allclose(times, np.arange(30) / FPS, atol=1e-3)
    np.testing.assert_allclose(seen, gray, atol=2)


def test_read_camera_yields_all_frames_and_raises_at_the_end(tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", noise_frames(20))
    camera = CAMERA(str(tmp_path / "clip.mp4"))
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: camera)
    seen, source = [], sources.read_camera(0, CFG)
    while len(seen) < 20:
        seen += next(source)
        time.sleep(0.1)  # frames arrive meanwhile
    with raises_clip_error("camera 0"):
        next(source)
    assert [seconds for seconds, _ in seen] == sorted(seconds for seconds, _ in seen)
    whole = read_frames(tmp_path / "clip.mp4", range(20))
    for (_, view), frame in zip(seen, whole, strict=True):
        np.testing.assert_allclose(
            view, center_view(frame, CFG), atol=3
        )  # decoded with other color conversion
    assert not camera.isOpened()


def test_read_camera_that_breaks_raises(monkeypatch):
    class Broken:
        def isOpened(self) -> bool:
            return True

        def read(self):
            raise cv2.error("unplugged")

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Broken())
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with raises_clip_error("camera 0"):
        next(sources.read_camera(0, CFG))


def test_read_camera_that_does_not_exist_raises():
    with raises_clip_error("camera 97"):
        next(sources.read_camera(97, CFG))


def test_iter_timed_frames_of_concatenated_streams_has_increasing_times(tmp_path):
    write_clip(tmp_path / "a.ts", noise_frames(20), fps=25)
    twice = (tmp_path / "a.ts").read_bytes() * 2
    times = np.array([seconds for seconds, _ in iter_timed_frames(io.BytesIO(twice), name="x")])
    assert len(times) >= 39
    np.testing.assert_allclose(np.diff(times), 1 / 25, atol=1e-3)


def test_read_video_of_a_truncated_file_raises(tmp_path):
    write_clip(tmp_path / "whole.mkv", noise_frames(40))
    text = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(text[: len(text) // 2])
    with pytest.raises(ClipError, match=r"cut\.mkv"):
        list(sources.read_video(str(tmp_path / "cut.mkv")))
