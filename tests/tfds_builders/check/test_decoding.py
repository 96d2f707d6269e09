"""Decoding of clips before a build, against builds."""

import os

import numpy as np

from dstadapter_jax.data.video.reader import ClipError
from tests.helpers.clips import barcoded_frames, write_clip
from tfds_builders import clip_examples
from tfds_builders.check.decoding import check_clip
from tfds_builders.clip_examples import Clip, encode_clip


def damaged(mp4):
    """Files with whatever may be wrong with them, and some with nothing."""
    rng = np.random.default_rng(0)
    yield from (mp4, b"", b"text", mp4[:100], mp4[: len(mp4) // 2], mp4[:-1], mp4 + b"x")
    for _ in range(60):
        start = int(rng.integers(len(mp4) - 40))
        yield mp4[:start] + rng.bytes(40) + mp4[start + 40 :]


def encoded(clip, storage):
    try:
        return "", encode_clip(clip, storage)
    except ClipError as error:
        return error.reason, {}


def test_check_clip_gives_the_reason_of_a_build(tmp_path, mp4, monkeypatch):
    monkeypatch.setattr(clip_examples, "MAX_FRAMES", 12)
    long = tmp_path / "long.mp4"
    write_clip(long, barcoded_frames(13, 48, 64))
    segments = [None, (2, 5), (0, 8), (7, 8), (2, 9), (8, 8)]
    cases = [(data, None) for data in (*damaged(mp4), long.read_bytes())]
    cases += [(mp4, segment) for segment in segments]
    reasons = []
    for number, (data, segment) in enumerate(cases):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data)
        clip = Clip(f"clip {number}", path, "hi", segment=segment)
        checked = check_clip("train", clip)
        found = checked.num_frames, checked.info.height, checked.info.width, checked.info.fps
        for storage in clip_examples.STORAGES:
            reason, example = encoded(clip, storage)
            # FFmpeg's own words, in brackets, may differ between a file and its bytes.
            assert checked.reason.partition(" (Inv")[0] == reason.partition(" (Inv")[0]
            fields = ("num_frames", "height", "width", "fps")
            assert reason or found == tuple(example[field] for field in fields)
        reasons.append(checked.reason)
    assert 10 < reasons.count("") < len(reasons) - 10
    assert any("more than 12 frames" in reason for reason in reasons)
    assert sum("but the sign is listed in frames" in reason for reason in reasons) == 2


def test_check_clip_without_a_file_gives_a_reason(tmp_path):
    gone = Clip("gone", tmp_path / "gone.mp4", "hi")
    assert check_clip("train", gone).reason == "No such file or directory"
    os.mkfifo(tmp_path / "pipe.mp4")  # to open it would wait for ever
    pipe = Clip("pipe", tmp_path / "pipe.mp4", "hi")
    assert check_clip("train", pipe).reason == "is not a regular file"
