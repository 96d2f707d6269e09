"""The benchmark's clips are what they claim to be, and its figures hang together."""

import json

import numpy as np
import pytest

from dstadapter_jax.benchmark import __main__ as benchmark
from dstadapter_jax.benchmark.clips import KINDS, draw_frames, write_clip
from dstadapter_jax.data.video.reader import probe_whole


@pytest.mark.parametrize("name", ["h264_512", "autsl"])
def test_clips_are_of_their_kind_and_the_same_for_the_same_seed(tmp_path, name):
    kind, files = KINDS[name], [tmp_path / f"{i}.mp4" for i in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        write_clip(file, kind, seed)
    info = probe_whole(files[0])
    assert (info.num_frames, info.height, info.width) == (kind.frames, kind.height, kind.width)
    assert info.fps == pytest.approx(float(kind.fps))
    assert info.codec == {"libx264": "h264", "mpeg4": "mpeg4"}[kind.codec]
    first, again, other = (file.read_bytes() for file in files)
    assert first == again != other
    assert 0.6 < len(first) / (kind.frames * kind.frame_bytes) < 1.2


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_frame_moves(kind):
    frames = draw_frames(kind, np.random.default_rng(0))
    first, second = next(frames), next(frames)
    assert first.shape == (kind.height, kind.width, 3)
    assert first.dtype == np.uint8
    # Noise of a standard deviation of 3.5 on both: 1.13 times that, or 3.9.
    assert 3.8 < np.abs(first.astype(int) - second).mean() < 6


def test_input_figures(capsys):
    assert benchmark.main(["--mode", "input", "--kinds", "h264_512", "--repeats", "1"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert list(result["clips"]) == ["h264_512"]
    clip = result["clips"]["h264_512"]
    file, frames, original = (clip["bytes"][key] for key in ("file", "frames", "original"))
    assert file < original < file + 1_000
    assert frames > 60 * 5_000
    for mode in ("test", "train"):
        for storage in ("frames", "original"):
            speed = clip[mode][storage]
            assert 0 < speed["least"] <= speed["clips_per_second"] <= speed["most"]
        medians = [clip[mode][storage]["clips_per_second"] for storage in ("frames", "original")]
        assert clip[mode]["ratio"] == pytest.approx(medians[0] / medians[1])
    assert all(seconds > 0 for seconds in clip["build_seconds"].values())
    assert clip["same_frames"] is True
    assert 0 < clip["pixel_difference"]["mean"] < 2.5
    assert clip["pixel_difference"]["max"] > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "inputs"], "invalid choice: 'inputs'"),
        (["--mode", "input", "--repeats", "0"], "expected at least 1, got 0"),
        (["--mode", "input", "--kinds", "vhs"], "invalid choice: 'vhs'"),
    ],
)
def test_wrong_use_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        benchmark.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
