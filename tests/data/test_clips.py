import re

import pytest

from dstadapter_jax.data.clips import ClipLimits, read_clip_file
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.video.reader import ClipError
from tests.helpers.clips import barcoded_frames, write_clip

CFG = PreprocessConfig(num_frames=4, resolution=32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, barcoded_frames(12, 48, 64))
    return path


def test_read_clip_file_checks_limits(clip, tmp_path):
    read_clip_file(str(clip), CFG, limits=ClipLimits(12, 0.4))
    with pytest.raises(ClipError) as caught:
        read_clip_file(str(clip), CFG, limits=ClipLimits(11))
    assert "11" in re.findall(r"\d+", caught.value.reason)
    slow = tmp_path / "slow.mp4"
    write_clip(slow, barcoded_frames(2, 32, 48), pts=[0, 36_000 * 30])
    with pytest.raises(ClipError) as caught:
        read_clip_file(str(slow), CFG, limits=ClipLimits(seconds=60))
    assert "60" in re.findall(r"\d+", caught.value.reason)
