import time

import numpy as np
import pytest

from dstadapter_jax.app.hardening.decoder import Decoder
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


def test_read_equals_read_clip_file_before_and_after_a_crash(clip, tmp_path):
    decoder = Decoder(ClipLimits(), seconds=30)
    try:
        expected = read_clip_file(str(clip), CFG)
        for _ in range(2):
            for found, wanted in zip(decoder.read(str(clip), CFG, "pyav"), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
            with pytest.raises(ClipError) as caught:
                decoder.read(str(tmp_path / "none.mp4"), CFG, "pyav")
            assert caught.value.clip == str(tmp_path / "none.mp4")
            decoder._process.kill()
            decoder._process.wait()
            with pytest.raises(ClipError) as caught:
                decoder.read(str(clip), CFG, "pyav")
            assert isinstance(caught.value.__cause__, EOFError | OSError)
    finally:
        decoder.close()


def test_read_beyond_the_time_limit_fails_and_starts_a_new_process(tmp_path):
    path = tmp_path / "long.mp4"
    frames = np.repeat(barcoded_frames(8, 240, 320), 100, axis=0)
    write_clip(path, frames, options={"preset": "ultrafast"})
    decoder = Decoder(ClipLimits(), seconds=0.05)
    try:
        start = time.perf_counter()
        with pytest.raises(ClipError) as caught:
            decoder.read(str(path), CFG, "pyav")
        assert "0.05" in caught.value.reason
        assert time.perf_counter() - start < 60  # includes the start of the new process
    finally:
        decoder.close()
