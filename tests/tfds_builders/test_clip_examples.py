"""Stored clips: frames and files."""

import shutil

import cv2
import numpy as np

from dstadapter_jax.data.video import reader as video
from tests.helpers.builds import build, read_back
from tests.helpers.clips import write_clip
from tests.helpers.dataset_trees import put_labels


def test_encode_clip_large_portrait_frames_are_resized(source, out):
    """Portrait, larger than what is stored; the decoded JPEGs are near the decoded video."""
    put_labels(source, b"")
    path = source / "bye/0.mp4"
    y, x = np.mgrid[:400, :302] / 2
    write_clip(
        path, np.stack([np.stack([y, x, x * 0 + 80 * i], -1) for i in range(3)]).astype("u1")
    )
    for other in {*source.glob("*/*.mp4")} - {path}:
        shutil.copy(path, other)
    assert build("recordings", source, out) == 0
    _, examples = read_back(out, "recordings/frames")
    example = examples["train"][0]
    assert (example["height"], example["width"]) == (400, 302)
    for jpeg, frame in zip(example["frames"], video.iter_frames(path), strict=True):
        stored = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1))[..., ::-1]
        expected = cv2.resize(frame, (256, 339), interpolation=cv2.INTER_LINEAR)
        assert stored.shape == expected.shape
        # JPEG rounds by half a gray level here; another frame or order of channels is 25 off.
        assert np.abs(stored.astype(float) - expected).mean() < 1
        table = jpeg.index(b"\xff\xdb") + 5
        assert jpeg[table + 63] == 10, "the last step of libjpeg's quality 95"
