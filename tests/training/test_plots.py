"""Training curves as a picture."""

import pytest

from dstadapter_jax.training.plots import draw_curves


@pytest.mark.linux
def test_draw_curves_on_full_disk_raises_and_keeps_the_old_picture(tmp_path):
    (tmp_path / "curves.png.tmp").symlink_to("/dev/full")
    (tmp_path / "curves.png").touch()
    with pytest.raises(OSError, match=r"curves\.png: .*No space left"):
        draw_curves(tmp_path / "curves.png", tmp_path / "metrics.jsonl")
    assert (tmp_path / "curves.png").read_bytes() == b""
