import json

import pytest

from dstadapter_jax.benchmark import __main__ as benchmark


def test_input_mode_reports_consistent_metrics(capsys):
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
            assert 0 < speed["min"] <= speed["clips_per_second"] <= speed["max"]
        medians = [clip[mode][storage]["clips_per_second"] for storage in ("frames", "original")]
        assert clip[mode]["ratio"] == pytest.approx(medians[0] / medians[1])
    assert all(seconds > 0 for seconds in clip["build_seconds"].values())
    assert clip["same_frames"] is True
    assert 0 < clip["pixel_difference"]["mean"] < 2.5
    assert clip["pixel_difference"]["max"] > 5
