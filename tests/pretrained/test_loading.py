"""Loading and dumping of whole models and of backbones."""

import re

import jax
import numpy as np
import pytest
from flax import nnx

from dstadapter_jax.pretrained.loading import dump_weights, load_weights
from dstadapter_jax.pretrained.sources import WeightsError
from tests.helpers.errors import raises
from tests.helpers.weights import FOREIGN, assert_same, blank_model, leaves


def test_load_weights_of_a_dumped_model_round_trips_bit_for_bit(golden_weights):
    model = blank_model()
    report = load_weights(model, golden_weights)
    assert_same(dump_weights(model), golden_weights)
    assert report.format == "reference"
    assert report.loaded == tuple(golden_weights)
    assert report.initialized == report.ignored == ()
    again = blank_model()
    load_weights(again, {"meta": {}, "state_dict": dump_weights(model)})
    for expected, leaf in zip(jax.tree.leaves(nnx.state(model)), leaves(again), strict=True):
        np.testing.assert_array_equal(leaf, expected)


@pytest.mark.parametrize("layers", [2, 4])
def test_load_weights_of_other_depths_and_kernels_round_trips(layers):
    cfg = {"layers": layers, "spatial_kernel": (1, 3, 3)}
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(size=array.shape).astype(np.float32)
        for name, array in dump_weights(blank_model(**cfg)).items()
    }
    model = blank_model(**cfg)
    load_weights(model, weights)
    assert_same(dump_weights(model), weights)


def test_load_weights_copies_its_source(golden_weights):
    source = {name: array.copy() for name, array in golden_weights.items()}
    model = blank_model()
    load_weights(model, source)
    dumped = dump_weights(model)
    for array in [*source.values(), *dumped.values()]:
        array[...] = 0
    assert_same(dump_weights(model), golden_weights)


@pytest.mark.parametrize("name", FOREIGN)
def test_load_weights_of_each_naming_gives_equal_backbones(backbone, golden_weights, name):
    convert, title, ignored = FOREIGN[name]
    source, model = convert(backbone), blank_model()
    report = load_weights(model, source)
    dumped = dump_weights(model)
    for reference, array in dumped.items():
        expected = backbone.get(reference, np.full_like(golden_weights[reference], -7))
        np.testing.assert_array_equal(array, expected, err_msg=reference)
    assert (report.format, report.loaded) == (title, tuple(n for n in dumped if n in backbone))
    assert report.initialized == tuple(n for n in dumped if n not in backbone)
    assert len(report.ignored) == ignored
    assert set(report.ignored) < set(source) or not ignored
    assert f"{len(report.initialized)} left as initialized" in str(report)


@pytest.mark.parametrize("name", FOREIGN)
def test_load_weights_lists_missing_and_unexpected_names_in_one_error(backbone, name):
    source = FOREIGN[name][0](backbone)
    gone = next(n for n in source if re.search(r"\.1\..*(mlp|fc1)", n))
    source = {n: array for n, array in source.items() if n != gone} | {"visual.extra": gone}
    model = blank_model()
    with raises(WeightsError, problem=(f"missing: {gone}\n", "unexpected: visual.extra")):
        load_weights(model, source)
    assert all((np.asarray(leaf) == -7).all() for leaf in leaves(model))
