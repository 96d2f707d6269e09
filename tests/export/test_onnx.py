"""ONNX models of the network."""

import functools
import sys

import jax
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax import DSTAdapter, ModelConfig
from dstadapter_jax.export import __main__ as export
from dstadapter_jax.export import onnx
from dstadapter_jax.inference.recognizer import view_probabilities
from dstadapter_jax.pretrained.initialization import init_model
from tests.helpers.errors import raises


@pytest.mark.parametrize(
    ("spatial_kernel", "activation"), [((1, 1, 1), "quick_gelu"), ((1, 3, 3), "gelu")]
)
def test_onnx_model_with_random_weights_equals_jax(spatial_kernel, activation, tmp_path):
    cfg = ModelConfig(
        num_classes=5,
        input_resolution=24,
        num_frames=3,
        patch_size=8,
        width=32,
        layers=4,
        heads=4,
        spatial_kernel=spatial_kernel,
        activation=activation,
    )
    model = _random_model(cfg, seed=0)
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    content, _ = onnx.build(model)
    path = tmp_path / "signs.onnx"
    path.write_bytes(content)
    views = np.random.default_rng(1).integers(256, size=(4, 3, 24, 24, 3), dtype=np.uint8)
    expected = np.asarray(jax.jit(functools.partial(view_probabilities, model))(views))
    assert np.ptp(expected, axis=0).max() > 0.1  # the model distinguishes the clips
    np.testing.assert_allclose(onnx.load(path)(views), expected, rtol=0, atol=5e-7)


def _random_model(cfg: ModelConfig, seed: int) -> DSTAdapter:
    """Model with random weights, including those initialized to zero or one."""
    graphdef, state = nnx.split(init_model(cfg, seed))
    rng = np.random.default_rng(seed)
    return nnx.merge(
        graphdef,
        jax.tree.map(lambda w: w + rng.normal(0, 0.2, w.shape).astype(np.float32), state),
    )


def test_export_onnx_without_its_packages_raises(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(onnx, "PACKAGES", ("onnxruntime",))
    with raises(problem="onnxruntime", advice="requirements-onnx.txt"):
        export.main(["onnx", "--workdir", "none", "-o", str(tmp_path / "signs.onnx")])
