"""Manifests of exported programs."""

import math

import cv2
import numpy as np
import pytest

from dstadapter_jax import ModelConfig
from dstadapter_jax.data.preprocess import PreprocessConfig, choose_frames, make_views
from dstadapter_jax.export.manifest import preprocessing_fields


@pytest.mark.parametrize(("num_frames", "side"), [(8, 32), (6, 48)])
def test_preprocessing_fields_equal_the_preprocessing(num_frames, side):
    sizes = ModelConfig(num_classes=2, num_frames=num_frames, input_resolution=side)
    fields, cfg = preprocessing_fields(sizes), PreprocessConfig(num_frames, side)

    def formula(field: str, **names: int) -> int:
        return eval(fields[field], {"round": round, "floor": math.floor} | fields | names)

    for length in range(1, 200):
        frames = [formula("frame", N=length, i=i) for i in range(num_frames)]
        assert frames == choose_frames(length, cfg, "test").tolist()
    rng = np.random.default_rng(0)
    for short, long in ((50, 71), (33, 70), (37, 37), (64, 100)):
        frame = rng.integers(256, size=(short, long, 3), dtype=np.uint8)
        resized = cv2.resize(frame, (formula("long_side", short=short, long=long), side))
        step = (resized.shape[1] - side) // 2
        starts = {"start": 0, "end": 2 * step, "middle": step}
        expected = [resized[:, starts[crop] :][:, :side] for crop in fields["crops"]]
        views, counts = make_views(frame[np.newaxis], cfg, "test")
        np.testing.assert_array_equal(np.repeat(views[:, 0], counts, axis=0), expected)
