"""Names, shapes and values that do not fit the model."""

import re

import numpy as np
import pytest

from dstadapter_jax.pretrained.loading import dump_weights, load_weights
from dstadapter_jax.pretrained.sources import WeightsError
from tests.helpers.errors import raises
from tests.helpers.weights import blank_model, hugging_face


def test_read_tensors_with_many_missing_names_shortens_the_list(backbone):
    with raises(WeightsError, problem=("missing: ", "… and 6 more")):
        load_weights(blank_model(layers=4), backbone)
    with raises(WeightsError, problem=("unexpected: ", "resblocks.2", "… and 6 more")):
        load_weights(blank_model(layers=2), backbone)


def test_read_tensors_with_some_adapters_missing_raises(golden_weights):
    one = "backbone.transformer.resblocks.2.s_adapter.caf.fc.2.weight"
    for gone in (one, "backbone.temporal_embedding", "cls_head.fc_cls.weight"):
        part = {name: array for name, array in golden_weights.items() if name != gone}
        with raises(WeightsError, problem=f"missing: {gone}\n"):
            load_weights(blank_model(), part)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 9}, r"fc_cls\.bias: expected \(9,\), found \(7,\), another class count"),
        ({"num_frames": 8}, r"expected \(1, 8, 64\), found \(1, 4, 64\), another number of frames"),
        ({"input_resolution": 40}, r"\(26, 64\), found \(17, 64\), another grid.*resize_positions"),
        ({"patch_size": 4, "input_resolution": 16}, r"\(64, 3, 4, 4\), found .*, another patch si"),
        ({"width": 48}, r"another width \(model\.width\)\n.* … and \d+ more$"),
        ({"spatial_kernel": (1, 3, 3)}, r"s_adapter.*\(4, 1, 1, 3, 3\), found .*, another kernel"),
    ],
)
def test_read_tensors_of_other_shapes_names_the_likely_cause(golden_weights, changes, message):
    with raises(WeightsError) as caught:
        load_weights(blank_model(**changes), golden_weights)
    assert re.search(message, caught.value.problem, re.DOTALL)


def test_read_tensors_with_unknown_names_raises():
    titles = "reference, OpenAI CLIP, Hugging Face CLIP, timm"
    with raises(WeightsError, expected=titles, found="fc.weight"):
        load_weights(blank_model(), {"fc.weight": np.ones(3)})
    with raises(WeightsError, found="none"):
        load_weights(blank_model(), {})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_read_tensors_with_values_that_are_not_finite_names_the_tensor(golden_weights, value):
    bad = golden_weights["backbone.ln_post.bias"].astype(np.float64)
    bad[3] = value
    with raises(WeightsError, where="backbone.ln_post.bias", found="1 of 64 values"):
        load_weights(blank_model(), golden_weights | {"backbone.ln_post.bias": bad})


def test_read_tensors_of_integers_raises(golden_weights):
    quantized = golden_weights["backbone.conv1.weight"].astype(np.int8)
    with raises(WeightsError, where="conv1.weight", expected="floats", found="int8"):
        load_weights(blank_model(), golden_weights | {"backbone.conv1.weight": quantized})


def cubic(x):
    """Keys' kernel, a = -0.5."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


def resampled(grid, side):
    """One axis at a time; a smaller grid widens the kernel; weights beyond the edge are dropped."""
    scale = max(len(grid) / side, 1)
    centers = (np.arange(side) + 0.5) * len(grid) / side - 0.5
    weights = cubic((centers[:, None] - np.arange(len(grid))) / scale)
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("ip,jq,pqd->ijd", weights, weights, grid)


@pytest.mark.parametrize("side", [2, 3, 5, 7])
def test_read_tensors_resizes_positions_on_request(backbone, side):
    name = "backbone.positional_embedding"
    model = blank_model(input_resolution=8 * side)
    with raises(WeightsError, problem="resize_positions=True"):
        load_weights(model, backbone)
    load_weights(model, hugging_face(backbone, ""), resize_positions=True)
    found, source = dump_weights(model)[name], backbone[name]
    np.testing.assert_array_equal(found[0], source[0])
    expected = resampled(source[1:].reshape(4, 4, -1).astype(np.float64), side)
    # float32 against float64, values of order one
    np.testing.assert_allclose(found[1:], expected.reshape(-1, 64), rtol=0, atol=2e-6)


def test_read_tensors_keeps_positions_that_fit(backbone):
    model = blank_model()
    load_weights(model, backbone, resize_positions=True)
    positions = dump_weights(model)["backbone.positional_embedding"]
    np.testing.assert_array_equal(positions, backbone["backbone.positional_embedding"])
