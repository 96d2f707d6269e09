import numpy as np
import pytest

from dstadapter_jax.benchmark.clips import KINDS, draw_frames, write_clip
from dstadapter_jax.data.video.reader import probe


@pytest.mark.parametrize("name", ["h264_512", "autsl"])
def test_write_clip_has_its_kinds_format_and_depends_on_the_seed_alone(tmp_path, name):
    kind, files = KINDS[name], [tmp_path / f"{i}.mp4" for i in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        write_clip(file, kind, seed)
    info = probe(files[0])
    assert (info.num_frames, info.height, info.width) == (kind.frames, kind.height, kind.width)
    assert info.fps == pytest.approx(float(kind.fps))
    assert info.codec == {"libx264": "h264", "mpeg4": "mpeg4"}[kind.codec]
    first, again, other = (file.read_bytes() for file in files)
    assert first == again != other
    assert 0.6 < len(first) / (kind.frames * kind.frame_bytes) < 1.2


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_draw_frames_changes_every_frame(kind):
    frames = draw_frames(kind, np.random.default_rng(0))
    first, second = next(frames), next(frames)
    assert first.shape == (kind.height, kind.width, 3)
    assert first.dtype == np.uint8
    # Noise of a standard deviation of 3.5 on both: 1.13 times that, or 3.9.
    assert 3.8 < np.abs(first.astype(int) - second).mean() < 6
