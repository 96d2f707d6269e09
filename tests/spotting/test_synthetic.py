"""Synthetic annotated streams."""

import pathlib

import numpy as np

from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.spotting.synthetic import BackgroundFootage, ComposedStream
from tests.helpers.clips import write_clip
from tests.helpers.errors import raises
from tests.helpers.streams import CFG


def test_composed_stream_has_its_clips_at_the_annotated_times(data_dir, tmp_path):
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
        # The gap before a clip holds its first frame.
        before = frames[int(np.searchsorted(times, sign.start - 0.01)) - 1][1]
        np.testing.assert_array_equal(before, inside[0])
    assert stream.annotations[0].start >= 0.5
    assert stream.annotations[1].start - stream.annotations[0].end >= 0.9


def test_composed_stream_fills_gaps_with_footage_of_the_signer(data_dir, tmp_path):
    source = open_dataset("recordings/frames", str(data_dir)).source("test")
    signer = source[0]["signer"].decode()
    for folder, gray in (("", 50), (signer, 200)):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_clip(tmp_path / folder / "background.mp4", np.full((90, 48, 64, 3), gray, np.uint8))
    stream = ComposedStream([source[0]], "pyav", CFG, BackgroundFootage(tmp_path, CFG), seed=0)
    frames = list(stream)
    (sign,) = stream.annotations
    gap = [frame for seconds, frame in frames if seconds < sign.start - 1e-6]
    assert 30 <= len(gap) <= 75
    assert abs(np.mean(gap) - 200) < 3
    with raises(where="--background_videos"):
        BackgroundFootage(pathlib.Path(__file__).parents[1] / "golden", CFG)
